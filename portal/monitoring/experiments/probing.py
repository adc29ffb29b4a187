"""A client that goes on writing and reading while nodes are broken.

It asks honest gateways only, in turn: against one that lies to its own clients only a proof helps.
Each second one document is written through one of them and read back through the next one.
"""

import asyncio
from dataclasses import dataclass
from typing import Final

import httpx

from portal.clusters.constants import CHAOS_COLLECTION
from portal.monitoring.experiments.types import ExperimentTarget

DOCUMENTS: Final = 50
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

    def take(self) -> Tally:
        """Return what was counted, and begin anew."""
        taken, self._tally = self._tally, Tally()
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
        number = self._number
        self._open += 1
        try:
            writer = gateways[number % len(gateways)].url
            if await self._write(writer, number):
                reader = gateways[(number + 1) % len(gateways)].url
                await self._read(reader, number, "strong")
                await self._read(reader, number, "bounded")
        finally:
            self._open -= 1

    def _url(self, gateway: str, number: int) -> str:
        place = f"collections/{CHAOS_COLLECTION}/documents/probe-{number % DOCUMENTS:02}"
        return f"{gateway}/api/v1/{place}"

    async def _write(self, gateway: str, number: int) -> bool:
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            response = await self._http.put(
                self._url(gateway, number),
                json={"n": number},
                headers={"Authorization": f"Bearer {self._target.token}"},
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

    async def _read(self, gateway: str, number: int, consistency: str) -> None:
        try:
            response = await self._http.get(
                self._url(gateway, number),
                params={"consistency": consistency},
                headers={"Authorization": f"Bearer {self._target.token}"},
                timeout=TIMEOUT_S,
            )
            body = response.json() if response.is_success else {}
        except (httpx.HTTPError, ValueError):
            self._tally.unread += 1
            return
        if response.status_code == httpx.codes.NOT_FOUND and consistency == "bounded":
            body = {"n": number - DOCUMENTS}
        elif not response.is_success:
            self._tally.unread += 1
            return
        found = body.get("n") if isinstance(body, dict) else None
        # What was acknowledged must be read by a strong read; a bounded one may lag behind it.
        is_right = found == number
        if consistency == "bounded" and isinstance(found, int):
            is_right = found <= number and (number - found) % DOCUMENTS == 0
        if is_right:
            self._tally.reads_ok += 1
        else:
            self._tally.wrong += 1
