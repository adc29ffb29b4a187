/** The change feed: server-sent events, resumed at the last place, at this node or another. */

import { parse, stringify } from "./json.js";
import { isPassing, pause, problemIn, type Transport } from "./transport.js";
import type { Document } from "./types.js";

export interface ChangesOptions {
  /** The place behind which to begin, as a `Change.place` was; `"0"` is the beginning. */
  readonly after?: string;
  /** Only these collections. */
  readonly collections?: readonly string[];
  /** Only documents that fit; deletes are always told. */
  readonly filter?: object;
  /** Without documents. */
  readonly withoutDocuments?: boolean;
  /** Ends the feed. */
  readonly signal?: AbortSignal;
}

export interface Change {
  /** Where to resume behind this event. */
  readonly place: string;
  readonly sequence: number;
  readonly position: number;
  readonly time: string;
  readonly operation: "insert" | "replace" | "update" | "delete" | "drop";
  readonly collection: string;
  readonly id?: string;
  readonly version?: number;
  readonly document?: Document;
  readonly transaction?: { readonly first: number; readonly count: number };
}

const EVENT_CHARS_MAX = 32 * 1024 * 1024;
const RETRY_MS = 1_000;
const SILENCE_MS = 45_000;

/** Yields changes for ever, or until the signal; throws `ApiError` with `resync_required`. */
export async function* changes(
  transport: Transport,
  options: ChangesOptions,
): AsyncGenerator<Change, void, undefined> {
  let place = options.after;
  let retryMs = RETRY_MS;
  let isConnected = false;
  const isEnded = (): boolean => options.signal?.aborted ?? false;
  while (!isEnded()) {
    const watch = new Watch(options.signal);
    try {
      const response = await transport.open(
        {
          method: "GET",
          path: `/api/v1/changes${queryOf(options, place)}`,
          headers: { Accept: "text/event-stream" },
        },
        watch.signal,
      );
      isConnected = true;
      for await (const event of events(response, watch)) {
        if (event.isEnd) throw problemIn(503, event.data ?? "");
        place = event.id ?? place;
        retryMs = event.retryMs ?? retryMs;
        if (event.data !== undefined && place !== undefined) {
          yield { place, ...(parse(event.data) as unknown as Omit<Change, "place">) };
        }
      }
    } catch (error) {
      if (isEnded()) return;
      // A feed that ran goes on when the cluster is back; one that never began says why.
      if (!isConnected || !isPassing(error)) throw error;
    } finally {
      watch.end();
    }
    if (isEnded()) return;
    // The node went away or fell silent: the next one knows the same places.
    transport.lost();
    await pause(retryMs);
  }
}

function queryOf(options: ChangesOptions, place: string | undefined): string {
  const query = new URLSearchParams();
  if (place !== undefined) query.set("after", place);
  for (const name of options.collections ?? []) query.append("collection", name);
  if (options.filter !== undefined) query.set("filter", stringify(options.filter));
  if (options.withoutDocuments === true) query.set("include", "none");
  const text = query.toString();
  return text === "" ? "" : `?${text}`;
}

/** Ends a stream when its reader wants that, or when nothing has come for too long. */
class Watch {
  readonly #controller = new AbortController();
  readonly #outer: AbortSignal | undefined;
  readonly #abort = (): void => this.#controller.abort();
  #timer: ReturnType<typeof setTimeout>;

  constructor(outer: AbortSignal | undefined) {
    this.#outer = outer;
    outer?.addEventListener("abort", this.#abort);
    this.#timer = setTimeout(this.#abort, SILENCE_MS);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  heard(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(this.#abort, SILENCE_MS);
  }

  end(): void {
    clearTimeout(this.#timer);
    this.#outer?.removeEventListener("abort", this.#abort);
    this.#controller.abort();
  }
}

interface ServerEvent {
  readonly id?: string;
  readonly data?: string;
  readonly retryMs?: number;
  /** The node ends the feed; the data say why. */
  readonly isEnd: boolean;
}

/** Cuts a stream into events, as the HTML standard says. */
async function* events(response: Response, watch: Watch): AsyncGenerator<ServerEvent> {
  if (response.body === null) return;
  const decoder = new TextDecoder();
  let held = "";
  // Both ends of a line end may come apart: they are made one before blocks are cut.
  for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
    watch.heard();
    held = (held + decoder.decode(chunk, { stream: true })).replaceAll("\r\n", "\n");
    const blocks = held.split("\n\n");
    held = blocks.pop() ?? "";
    if (held.length > EVENT_CHARS_MAX) throw new RangeError("an event is too long");
    for (const block of blocks) yield eventOf(block);
  }
}

function eventOf(block: string): ServerEvent {
  let id: string | undefined;
  let retryMs: number | undefined;
  let isEnd = false;
  const data: string[] = [];
  for (const line of block.split("\n")) {
    const colon = line.indexOf(":");
    if (colon <= 0) continue;
    const value = line.slice(colon + 1).replace(/^ /, "");
    const name = line.slice(0, colon);
    if (name === "data") data.push(value);
    else if (name === "id") id = value;
    else if (name === "event") isEnd = value === "end";
    else if (name === "retry" && /^\d{1,6}$/.test(value)) retryMs = Number(value);
  }
  return {
    isEnd,
    ...(id === undefined ? {} : { id }),
    ...(data.length === 0 ? {} : { data: data.join("\n") }),
    ...(retryMs === undefined ? {} : { retryMs }),
  };
}
