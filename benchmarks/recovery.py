"""How long a cluster takes no writes after its primary is killed, and whether it loses any.

Every connection puts documents of its own, one after the other; whatever happens to a write, it is
repeated under the same idempotency key until it is acknowledged. So in the end each document must
have exactly the version and the content that its connection counted.
"""

import asyncio
import contextlib
import json
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from benchmarks.load import request_bytes
from benchmarks.report import spread
from dataplane.client import Client
from dataplane.client.local import LocalCluster

COLLECTION: Final = "recovery"
DOCUMENTS: Final = 16
"""Of each connection."""
ATTEMPT_S: Final = 10.0
PAUSE_S: Final = 0.02
WAIT_S: Final = 120.0
LAG_MAX: Final = 64
REFUSALS: Final = frozenset({429, 503})


@dataclass(slots=True)
class Round:
    """What one killed primary led to."""

    primary: int
    view: int
    killed_at: float = 0.0
    accepted_ms: float | None = None
    """Until the first write was accepted by a node in a later view."""
    refused: int = 0
    retried: int = 0

    def line(self, number: int) -> str:
        """Return one row."""
        return (
            f"round {number}: killed node {self.primary}, primary of view {self.view}; first write "
            f"accepted after {self.accepted_ms:,.0f} ms; refused {self.refused}, "
            f"retried {self.retried}"
        )


@dataclass(slots=True)
class Kept:
    """What a connection knows of one of its documents."""

    version: int = 0
    value: str = ""


@dataclass(slots=True)
class Load:
    """What all connections share."""

    addresses: list[tuple[str, int]]
    headers: dict[str, str]
    size: int
    acknowledged: dict[str, Kept] = field(default_factory=dict)
    round: Round | None = None
    accepted: asyncio.Event = field(default_factory=asyncio.Event)
    is_over: bool = False

    def took(self, view: int) -> None:
        """A write was accepted; only one in a later view shows that somebody leads again."""
        now = time.perf_counter()
        if self.round is not None and self.round.accepted_ms is None and view > self.round.view:
            self.round.accepted_ms = (now - self.round.killed_at) * 1000
            self.accepted.set()


class Writer:
    """One connection: it goes to the next node when one does not answer, and home afterwards."""

    def __init__(self, load: Load, number: int) -> None:
        self._load = load
        self._number = number
        self._home = self._at = number % len(load.addresses)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def run(self) -> None:
        """Write until the load is over and what was begun is acknowledged."""
        count = 0
        while not self._load.is_over:
            count += 1
            if self._load.round is None and self._at != self._home:
                self._leave()
                self._at = self._home
            await self._put(f"w{self._number}-{count % DOCUMENTS}", f"{count}")
        self._leave()

    async def _put(self, document_id: str, value: str) -> None:
        body = json.dumps({"value": value, "text": "x" * self._load.size}).encode()
        headers = {**self._load.headers, "Idempotency-Key": secrets.token_hex(16)}
        path = f"/api/v1/collections/{COLLECTION}/documents/{document_id}"
        request = request_bytes("PUT", path, body, headers)
        while True:
            status, view = await self._attempt(request)
            if 200 <= status < 300:
                break
            if status and status not in REFUSALS:
                raise RuntimeError(f"a write was answered {status}")
            if self._load.round is not None:
                self._load.round.refused += bool(status)
                self._load.round.retried += 1
            await asyncio.sleep(PAUSE_S)
        kept = self._load.acknowledged.setdefault(document_id, Kept())
        kept.version, kept.value = kept.version + 1, value
        self._load.took(view)

    async def _attempt(self, request: bytes) -> tuple[int, int]:
        """Return (status, view) of the answer, and go to the next node when there is none: 0."""
        try:
            async with asyncio.timeout(ATTEMPT_S):
                return await self._exchange(request)
        except (OSError, EOFError, TimeoutError):
            self._leave()
            self._at = (self._at + 1) % len(self._load.addresses)
            return 0, 0

    async def _exchange(self, request: bytes) -> tuple[int, int]:
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self._load.addresses[self._at])
        reader, writer = self._streams
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
        headers = dict(line.split(": ", 1) for line in head[1:] if line)
        await reader.readexactly(int(headers["content-length"]))
        return int(head[0].split(" ", 2)[1]), int(headers.get("aerolith-view", "0"))

    def _leave(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
        self._streams = None


def faults(
    acknowledged: Mapping[str, Kept], stored: Mapping[str, Mapping[str, Any]]
) -> tuple[list[str], list[str]]:
    """Return the documents that lack an acknowledged write, and those where one was done twice."""
    lost, twice = [], []
    for name, kept in acknowledged.items():
        document = stored.get(name, {"_version": 0})
        if document["_version"] > kept.version:
            twice.append(name)
        elif document["_version"] < kept.version or document["value"] != kept.value:
            lost.append(name)
    return lost, twice


def read_all(cluster: LocalCluster) -> dict[str, dict[str, Any]]:
    """Return every document as the cluster has it, by its id."""
    with Client(cluster.urls, cluster.api_key) as client:
        return {document["_id"]: document for document in client.iterate(COLLECTION)}


def statuses(cluster: LocalCluster) -> list[dict[str, Any]]:
    """Return what every node says of the cluster; nothing of one that does not answer."""
    found = []
    headers = {"Authorization": f"Bearer {cluster.api_key}"}
    for url in cluster.urls:
        with contextlib.suppress(httpx.HTTPError):
            answer = httpx.get(
                f"{url}/api/v1/nodes/status", headers=headers, timeout=5, trust_env=False
            )
            found.append(answer.json())
    return found


def is_healthy(cluster: LocalCluster) -> bool:
    """Whether every node serves, follows the newest view and is not behind."""
    said = statuses(cluster)
    ready = all(cluster.is_ready(index) for index in range(len(cluster.members)))
    newest = max((status["sequence"] for status in said), default=0)
    return (
        ready
        and len(said) == len(cluster.members)
        and len({status["view"] for status in said}) == 1
        and all(status["sequence"] >= newest - LAG_MAX for status in said)
    )


def wait_healthy(cluster: LocalCluster) -> None:
    """Wait until every node is back."""
    until = time.perf_counter() + WAIT_S
    while not is_healthy(cluster):
        if time.perf_counter() > until:
            raise TimeoutError(f"the cluster is not whole within {WAIT_S:.0f} s")
        time.sleep(0.1)


@contextlib.asynccontextmanager
async def writing(load: Load, connections: int) -> AsyncIterator[None]:
    """Write from so many connections meanwhile; in the end everything is acknowledged."""
    async with asyncio.TaskGroup() as tasks:
        for number in range(connections):
            tasks.create_task(Writer(load, number).run())
        try:
            yield
        finally:
            load.is_over = True


async def kill_primary(cluster: LocalCluster, load: Load) -> Round:
    """Kill the primary, wait for the next accepted write, bring the node back."""
    newest = max(await asyncio.to_thread(statuses, cluster), key=lambda status: status["view"])
    load.accepted.clear()
    killed = Round(newest["primary"], newest["view"], time.perf_counter())
    load.round = killed
    await asyncio.to_thread(cluster.kill, killed.primary)
    async with asyncio.timeout(WAIT_S):
        await load.accepted.wait()
    cluster.start(killed.primary)
    await asyncio.to_thread(wait_healthy, cluster)
    load.round = None
    return killed


async def recover(
    cluster: LocalCluster,
    tell: Callable[[str], None],
    *,
    connections: int,
    rounds: int,
    load_s: float,
    size: int,
) -> bool:
    """Kill primaries one after the other under load; tell a row for each, then what came of it.

    Returns:
        Whether every acknowledged write was done, and done once.
    """
    addresses = [(member.host, member.http_port) for member in cluster.members]
    headers = {"Authorization": f"Bearer {cluster.api_key}", "Content-Type": "application/json"}
    load, done = Load(addresses, headers, size), list[Round]()
    async with writing(load, connections):
        for number in range(1, rounds + 1):
            await asyncio.sleep(load_s)
            done.append(await kill_primary(cluster, load))
            tell(done[-1].line(number))
    times = spread([killed.accepted_ms or 0.0 for killed in done], 0)
    tell(
        f"aerolith n={len(addresses)} recovery c={connections}, {rounds} rounds: first write "
        f"accepted after {times} ms; refused {sum(killed.refused for killed in done)}, "
        f"retried {sum(killed.retried for killed in done)}"
    )
    stored = await asyncio.to_thread(read_all, cluster)
    lost, twice = faults(load.acknowledged, stored)
    count = sum(kept.version for kept in load.acknowledged.values())
    tell(
        f"{count:,} writes of {len(load.acknowledged):,} documents acknowledged; "
        f"lost in {len(lost)}, done twice in {len(twice)}"
    )
    return not lost and not twice
