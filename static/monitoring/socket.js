// A WebSocket that comes back: exponential pauses, acknowledgements, and a state one can show.

const PAUSE_MAX_MS = 15000;
const FINAL_CODES = new Set([4403, 4404]);

export class LiveSocket {
  constructor(path, { onEvent, onState }) {
    this.url = `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${path}`;
    this.onEvent = onEvent;
    this.onState = onState;
    this.failures = 0;
    this.closed = false;
    addEventListener("pagehide", () => this.close());
    addEventListener("pageshow", (event) => event.persisted && this.open());
    addEventListener("online", () => this.open());
    this.open();
  }

  open() {
    clearTimeout(this.timer);
    if (this.socket && this.socket.readyState < WebSocket.CLOSING) return;
    this.closed = false;
    const socket = new WebSocket(this.url);
    this.socket = socket;
    this.onState(this.failures ? "reconnecting" : "connecting");
    socket.addEventListener("message", (message) => {
      this.failures = 0;
      let event;
      try {
        event = JSON.parse(message.data);
      } catch {
        return;
      }
      this.onEvent(event);
      if (socket.readyState === WebSocket.OPEN) socket.send('{"type":"ack"}');
    });
    socket.addEventListener("open", () => this.onState("open"));
    socket.addEventListener("close", (event) => this.again(event, socket));
  }

  again(event, socket) {
    if (socket !== this.socket || this.closed) return;
    if (FINAL_CODES.has(event.code)) {
      this.onState("refused");
      return;
    }
    this.failures += 1;
    this.onState("reconnecting");
    // Jitter keeps a thousand pages from coming back in the same instant.
    const pause = Math.min(500 * 2 ** this.failures, PAUSE_MAX_MS) * (0.5 + Math.random() / 2);
    this.timer = setTimeout(() => this.open(), pause);
  }

  close() {
    this.closed = true;
    clearTimeout(this.timer);
    this.socket?.close();
  }
}
