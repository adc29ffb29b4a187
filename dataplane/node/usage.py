"""Usage events to the portal: CloudEvents whose ids are derived from the fact they state.

Calls and stored bytes come from the replicated windows, so every node that states such a fact
states the same; the time a node was up is its own statement. What is to be sent lies in an outbox
file first, so that a repetition after a crash is byte-equal.
"""

import asyncio
import json
import logging
from pathlib import Path
from typing import Any, Final

import httpx

from dataplane.client.provisioning import write_private
from dataplane.client.spec import NodeSpec, UsageSpec
from dataplane.documents.view import StateView
from dataplane.gateways.calls import timestamp_ms
from dataplane.ports import Clock

log = logging.getLogger(__name__)

BATCH_EVENTS_MAX: Final = 500
OUTBOX_EVENTS_MAX: Final = 100_000
BACKOFF_MAX_S: Final = 60.0
SEND_TIMEOUT_S: Final = 10.0
CHECK_S: Final = 2.0
REFUSALS_FINAL: Final = frozenset({400, 409, 413, 422})


class UsageReporter:
    """Derives events from closed windows and pushes them until they are taken."""

    def __init__(self, spec: NodeSpec, usage: UsageSpec, view: StateView, clock: Clock) -> None:
        self._spec = spec
        self._usage = usage
        self._view = view
        self._clock = clock
        self._window_ms = spec.genesis.usage_window_ms
        self._path = Path(spec.data_dir) / "usage-outbox.json"
        self._up_since_ms = clock.now_ms()
        state = self._load()
        self._cursor_ms: dict[str, int] = state["cursor_ms"]
        self._outbox: list[dict[str, Any]] = state["outbox"]

    def _load(self) -> dict[str, Any]:
        if not self._path.exists():
            return {"cursor_ms": {}, "outbox": []}
        state: dict[str, Any] = json.loads(self._path.read_bytes())
        return state

    def _save(self) -> None:
        state = {"cursor_ms": self._cursor_ms, "outbox": self._outbox}
        write_private(self._path, json.dumps(state).encode())

    async def run(self) -> None:
        """Send for ever; a portal that is away is tried again with rising pauses."""
        backoff = CHECK_S
        async with httpx.AsyncClient(timeout=SEND_TIMEOUT_S, trust_env=False) as client:
            while True:
                try:
                    self.collect()
                    sent = await self._send(client)
                except OSError as error:  # The outbox cannot be written: data is not at stake.
                    log.error("usage.outbox", extra={"reason": str(error)})  # noqa: TRY400
                    sent = False
                backoff = CHECK_S if sent else min(BACKOFF_MAX_S, backoff * 2)
                await asyncio.sleep(backoff)

    def collect(self) -> None:
        """Put the events of every window that closed since into the outbox."""
        closed = self._clock.now_ms() // self._window_ms * self._window_ms
        events = [*self._calls(closed), *self._storage(closed), *self._uptime(closed)]
        if events:
            self._outbox = (self._outbox + events)[:OUTBOX_EVENTS_MAX]
            self._save()

    def _calls(self, closed_ms: int) -> list[dict[str, Any]]:
        node, done = self._spec.node_id, self._cursor_ms.get("api_calls", 0)
        fresh = [
            window
            for window in self._view.usage_windows(closed_ms)
            if window.node == node and window.window_start_ms >= done
        ]
        if not fresh:
            return []
        last = max(window.window_start_ms for window in fresh)
        self._cursor_ms["api_calls"] = last + self._window_ms
        return [
            self._event(
                "api_calls", window.window_start_ms, window.count, call_class=window.call_class
            )
            for window in fresh
        ]

    def _storage(self, closed_ms: int) -> list[dict[str, Any]]:
        done = self._cursor_ms.get("storage_bytes", 0)
        fresh = [w for w in self._view.storage_windows(closed_ms) if w.window_start_ms >= done]
        if not fresh:
            return []
        self._cursor_ms["storage_bytes"] = fresh[-1].window_start_ms + self._window_ms
        return [
            self._event("storage_bytes", window.window_start_ms, window.bytes, of_cluster=True)
            for window in fresh
        ]

    def _uptime(self, closed_ms: int) -> list[dict[str, Any]]:
        """State how many seconds of each closed window this process was up.

        A window in which the node crashed is stated once, by the life that sees it close.
        """
        first = self._up_since_ms // self._window_ms * self._window_ms
        start = max(first, self._cursor_ms.get("node_seconds", 0))
        events = []
        while start + self._window_ms <= closed_ms:
            up_ms = start + self._window_ms - max(start, self._up_since_ms)
            events.append(self._event("node_seconds", start, max(0, up_ms) // 1000))
            start += self._window_ms
        if events:
            self._cursor_ms["node_seconds"] = start
        return events

    def _event(
        self,
        meter: str,
        start_ms: int,
        value: int,
        *,
        call_class: str | None = None,
        of_cluster: bool = False,
    ) -> dict[str, Any]:
        cluster, node = self._spec.cluster_id, str(self._spec.node_id)
        who = "cluster" if of_cluster else node
        start, end = timestamp_ms(start_ms), timestamp_ms(start_ms + self._window_ms)
        suffix = f":{call_class}" if call_class else ""
        data: dict[str, Any] = {
            "cluster": cluster,
            "node": who,
            "meter": meter,
            "window_start": start,
            "window_end": end,
            "value": value,
        }
        if call_class:
            data["class"] = call_class
        source = f"/clusters/{cluster}" if of_cluster else f"/clusters/{cluster}/nodes/{node}"
        return {
            "specversion": "1.0",
            "id": f"{cluster}:{who}:{meter}:{start}{suffix}",
            "source": source,
            "type": f"aerolith.usage.{meter}",
            "time": end,
            "data": data,
        }

    def _token(self) -> str:
        return Path(self._usage.token_file).read_text().strip()

    async def _send(self, client: httpx.AsyncClient) -> bool:
        """Send what is in the outbox; return False when the portal did not take it."""
        while self._outbox:
            batch = self._outbox[:BATCH_EVENTS_MAX]
            try:
                response = await client.post(
                    self._usage.url,
                    content=json.dumps(batch),
                    headers={
                        "Authorization": f"Bearer {self._token()}",
                        "Content-Type": "application/cloudevents-batch+json",
                    },
                )
            except (httpx.HTTPError, OSError) as error:
                log.warning("usage.not_sent", extra={"reason": type(error).__name__})
                return False
            if not response.is_success and response.status_code not in REFUSALS_FINAL:
                log.warning("usage.not_taken", extra={"status": response.status_code})
                return False
            if not response.is_success:
                log.error("usage.refused", extra={"status": response.status_code})
            self._outbox = self._outbox[len(batch) :]
            self._save()
        return True
