"""A client that goes on writing and reading while nodes are broken.

It asks honest gateways only, in turn: against one that lies to its own clients only a proof helps.
Each time a document is written through one of them and read back through the next one. Every
fourth time it is always the same document, and broken nodes are asked for it too: what they show by
themselves is told, and counts for nothing.
"""

import asyncio
from dataclasses import dataclass
from typing import Any, Final

import httpx

from portal.clusters.chaos.recording import Happening
from portal.clusters.constants import CHAOS_COLLECTION, SAMPLE, SAMPLE_TEXT
from portal.clusters.faults import CRASH
from portal.monitoring.experiments.types import ExperimentTarget
from portal.monitoring.types import NodeAddress

DOCUMENTS: Final = 50
TICK_EVERY: Final = 4
TICK: Final = "tick"
TIMEOUT_S: Final = 6.0
AT_ONCE_MAX: Final = 8


@dataclass(slots=True)
class Tally:
    """What came of the probes since it was last looked at."""

    ok: int = 0
    failed: int = 0
    reads_ok: int = 0
    wrong: int = 0
    unread: int = 0
    slowest_ms: float | None = None

    def wrote(self, milliseconds: float) -> None:
        """Count an acknowledged write."""
        self.ok += 1
        self.slowest_ms = max(self.slowest_ms or 0.0, round(milliseconds, 1))


class Probe:
    """Writes and reads of one experiment."""

    def __init__(self, target: ExperimentTarget, http: httpx.AsyncClient) -> None:
        self._target = target
        self._http = http
        self._number = 0
        self._open = 0
        self._tally = Tally()
        self._notes: list[Happening] = []
        self._shown: dict[tuple[int, str], object] = {}

    def take(self) -> tuple[Tally, list[Happening]]:
        """Return what was counted, and what broken nodes showed; begin anew."""
        taken = self._tally, self._notes
        self._tally, self._notes = Tally(), []
        return taken

    @property
    def has_room(self) -> bool:
        """Whether another one may begin: a cluster that hangs must not be asked without end."""
        return self._open < AT_ONCE_MAX

    async def once(self) -> None:
        """Write a document and read it back."""
        gateways = self._target.honest
        if not gateways:
            return
        self._number += 1
        self._open += 1
        try:
            await self._turn(self._number, gateways)
        finally:
            self._open -= 1

    async def _turn(self, number: int, gateways: tuple[NodeAddress, ...]) -> None:
        is_tick = number % TICK_EVERY == 0
        document = TICK if is_tick else f"probe-{number % DOCUMENTS:02}"
        if not await self._write(gateways[number % len(gateways)].url, document, number):
            return
        reader = gateways[(number + 1) % len(gateways)].url
        if is_tick:
            # A write of it that failed may still be done later: only its past is certain.
            await self._check(reader, document, "bounded", range(0, number + 1, TICK_EVERY))
            await self._look(number)
            return
        await self._check(reader, document, "strong", range(number, number + 1))
        before = range(number % DOCUMENTS, number + 1, DOCUMENTS)
        await self._check(reader, document, "bounded", before)

    async def _write(self, gateway: str, document: str, number: int) -> bool:
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            response = await self._http.put(
                self._url(gateway, document),
                json={"n": number},
                headers=self._headers,
                timeout=TIMEOUT_S,
            )
        except httpx.HTTPError:
            self._tally.failed += 1
            return False
        if not response.is_success:
            self._tally.failed += 1
            return False
        self._tally.wrote((clock() - began) * 1000)
        return True

    async def _check(self, gateway: str, document: str, consistency: str, right: range) -> None:
        """Read, and count whether it is one of the values that such a read may give."""
        found = await self._read(gateway, document, consistency)
        if found is None:
            self._tally.unread += 1
        elif found.get("n", right.start) in right:
            self._tally.reads_ok += 1
        else:
            self._tally.wrong += 1

    async def _look(self, number: int) -> None:
        """Ask broken nodes for what they hold themselves."""
        for node in self._target.nodes:
            if self._target.broken.get(node.index, CRASH) == CRASH:
                continue
            tick = await self._read(node.url, TICK, "local")
            if tick is not None and isinstance(n := tick.get("n"), int) and n < number:
                self._note("stale", node.index, {"shown": n, "newest": number})
            sample = await self._read(node.url, SAMPLE, "local")
            if sample is not None and sample.get("text") != SAMPLE_TEXT:
                self._note("changed", node.index, {"shown": str(sample.get("text"))[:80]})

    def _note(self, kind: str, node: int, facts: dict[str, object]) -> None:
        """Tell it unless the same was shown before."""
        if self._shown.get((node, kind)) != facts["shown"]:
            self._shown[node, kind] = facts["shown"]
            self._notes.append(Happening(kind, about=node, facts=facts))

    async def _read(self, gateway: str, document: str, consistency: str) -> dict[str, Any] | None:
        """Return a document, an empty one for none, None when there is no answer."""
        try:
            response = await self._http.get(
                self._url(gateway, document),
                params={"consistency": consistency},
                headers=self._headers,
                timeout=TIMEOUT_S,
            )
            body: object = response.json()
        except (httpx.HTTPError, ValueError):
            return None
        if response.status_code == httpx.codes.NOT_FOUND and consistency != "strong":
            return {}
        return body if response.is_success and isinstance(body, dict) else None

    def _url(self, gateway: str, document: str) -> str:
        return f"{gateway}/api/v1/collections/{CHAOS_COLLECTION}/documents/{document}"

    @property
    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._target.token}"}
