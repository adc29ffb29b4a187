"""What connections cost that mostly wait: python -m benchmarks.idle --connections 1000.

For each way to be connected: memory of the nodes and share of a processor for all of them together,
beyond that of the same cluster without; then, where changes are streamed, what telling each of
them of a change costs, and how long that takes.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from websockets.asyncio.client import ClientConnection, connect

from benchmarks.__main__ import sizes
from benchmarks.clusters import running, tell
from benchmarks.load import cpu_seconds, request_bytes
from benchmarks.processes import resident_bytes
from dataplane.client import Client
from dataplane.client.keys import SCOPES, new_api_key
from dataplane.client.local import LocalCluster

COLLECTION: Final = "idle"
PER_KEY: Final = 32
"""Feeds that one key may have open at a node."""
AT_ONCE: Final = 32
CHANGES: Final = 20
TOLD_S: Final = 60

type Told = Callable[[], Coroutine[Any, Any, object]]
"""Waits for the next change of an open connection."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a connection goes, and with which key."""

    host: str
    port: int
    token: str

    @property
    def headers(self) -> dict[str, str]:
        """What says who calls."""
        return {"Authorization": f"Bearer {self.token}"}


type Way = Callable[[Place, AsyncExitStack], Awaitable[Told | None]]
"""Opens a connection, to be closed with the rest; returns how it is told of changes, if it is."""


@asynccontextmanager
async def _opened(
    place: Place,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(place.host, place.port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def plain(place: Place, stack: AsyncExitStack) -> None:
    """Connect, and send nothing."""
    await stack.enter_async_context(_opened(place))


async def kept_alive(place: Place, stack: AsyncExitStack) -> None:
    """Ask one thing, and keep the connection."""
    reader, writer = await stack.enter_async_context(_opened(place))
    writer.write(request_bytes("GET", "/api/v1/collections", b"", place.headers))
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head


async def events(place: Place, stack: AsyncExitStack) -> Told:
    """Follow changes as server-sent events."""
    reader, writer = await stack.enter_async_context(_opened(place))
    path = f"/api/v1/changes?collection={COLLECTION}"
    writer.write(request_bytes("GET", path, b"", place.headers))
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    return lambda: reader.readuntil(b"data: ")


async def _socket(place: Place, stack: AsyncExitStack) -> ClientConnection:
    url = f"ws://{place.host}:{place.port}/api/v1/ws"
    opened = connect(url, additional_headers=place.headers, proxy=None, compression=None)
    return await stack.enter_async_context(opened)


async def socket(place: Place, stack: AsyncExitStack) -> None:
    """Open a WebSocket that subscribes to nothing."""
    await _socket(place, stack)


async def subscription(place: Place, stack: AsyncExitStack) -> Told:
    """Follow changes over a WebSocket."""
    opened = await _socket(place, stack)
    await opened.send(json.dumps({"id": 1, "type": "subscribe", "collection": COLLECTION}))
    answer = await opened.recv()
    assert "error" not in json.loads(answer), answer

    async def told() -> None:
        while json.loads(await opened.recv())["type"] != "change":
            pass

    return told


WAYS: Final[dict[str, Way]] = {
    "tcp": plain,
    "http": kept_alive,
    "websocket": socket,
    "websocket-changes": subscription,
    "sse-changes": events,
}


def places(cluster: LocalCluster, count: int) -> list[Place]:
    """Return where so many connections go: spread over the nodes, with keys enough for them."""
    members = cluster.members
    needed = -(-count // len(members) // PER_KEY) + 1
    keys = [new_api_key() for _ in range(needed)]
    with Client(cluster.urls, cluster.api_key) as client:
        client.collection_put(COLLECTION, {})
        for key in keys:
            client.key_put(key.id, {"name": key.id, "hash": key.hash, "scopes": SCOPES})
    found = []
    for number in range(count):
        member = members[number % len(members)]
        key = keys[number // len(members) // PER_KEY]
        found.append(Place(member.host, member.http_port, key.token))
    return found


async def together[T](waited: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Return what all of them lead to, in order."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(each) for each in waited]
    return [task.result() for task in tasks]


async def share(cluster: LocalCluster, seconds: float) -> float:
    """Return which part of a processor the nodes take together while nothing is asked."""
    began, cpu = time.perf_counter(), cpu_seconds(cluster.pids)
    await asyncio.sleep(seconds)
    return (cpu_seconds(cluster.pids) - cpu) / (time.perf_counter() - began)


async def tell_all(cluster: LocalCluster, told: list[Told]) -> str:
    """Change documents, and wait each time until everyone knows; say what that cost."""
    took = []
    cpu = cpu_seconds(cluster.pids)
    with Client(cluster.urls, cluster.api_key) as client:
        for number in range(CHANGES):
            began = time.perf_counter()
            await asyncio.to_thread(client.put, COLLECTION, "one", {"n": number})
            async with asyncio.timeout(TOLD_S):
                await together([wait() for wait in told])
            took.append((time.perf_counter() - began) * 1000)
    each = (cpu_seconds(cluster.pids) - cpu) / CHANGES / len(told) * 1e6
    took.sort()
    return f", a change known to all after {took[len(took) // 2]:.0f} ms, {each:.0f} us for each"


async def measure(
    cluster: LocalCluster, name: str, where: list[Place], options: argparse.Namespace
) -> None:
    """Open connections of one kind, measure, close them."""
    quiet = await share(cluster, options.seconds)
    before = resident_bytes(cluster)
    room = asyncio.Semaphore(AT_ONCE)

    async def open_one(place: Place, stack: AsyncExitStack) -> Told | None:
        async with room:
            return await WAYS[name](place, stack)

    async with AsyncExitStack() as stack:
        opened = await together([open_one(place, stack) for place in where])
        busy = await share(cluster, options.seconds)
        memory = (resident_bytes(cluster) - before) / len(where)
        line = (
            f"{name:<18} {len(where)} open: {memory / 1024:6.1f} KiB each, "
            f"all nodes {busy:.1%} of a processor ({quiet:.1%} without)"
        )
        told = [wait for wait in opened if wait is not None]
        tell(line + (await tell_all(cluster, told) if told else ""))


def ways(text: str) -> list[str]:
    """Return the kinds in a list with commas.

    Raises:
        ValueError: There is no such kind.
    """
    names = text.split(",")
    if not set(names) <= WAYS.keys():
        raise ValueError(f"of {', '.join(WAYS)}")
    return names


def parse(given: list[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.idle", description=__doc__)
    parser.add_argument("--nodes", type=sizes, default=[4], help="one or several, as 1,4,7")
    parser.add_argument("--connections", type=int, default=1_000, help="over all nodes")
    parser.add_argument("--ways", type=ways, default=list(WAYS), help=", ".join(WAYS))
    parser.add_argument("--seconds", type=float, default=20.0, help="that they wait")
    options = parser.parse_args(given)
    if options.connections < 1:
        parser.error("at least one connection")
    return options


def main() -> int:
    """Measure and print."""
    options = parse(sys.argv[1:])
    tell(f"load average {os.getloadavg()[0]:.1f}, {os.cpu_count()} processors")
    for nodes in options.nodes:
        tell(f"n={nodes}")
        for name in options.ways:
            # Each in a cluster of its own: memory that was given back is used again.
            with (
                tempfile.TemporaryDirectory() as directory,
                running(Path(directory), nodes) as cluster,
            ):
                where = places(cluster, options.connections)
                asyncio.run(measure(cluster, name, where, options))
    return 0


if __name__ == "__main__":
    sys.exit(main())
