"""TCP proxies between the nodes of a local cluster: cut, delay and drop, each way by itself.

A node's specification may name other addresses for its peers (`routes`), so it gets those of the
proxies. Mutual TLS passes through: a proxy moves bytes and reads none.
"""

import asyncio
import contextlib
import threading
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import msgspec

from dataplane.client.local import HOST, LocalCluster
from dataplane.client.provisioning import write_private
from dataplane.client.spec import NodeSpec, RouteSpec, dump_spec, load_spec

CHUNK_BYTES = 64 * 1024
CHUNKS_MAX = 64


class Direction:
    """What happens to bytes from one node to another."""

    def __init__(self) -> None:
        self.is_cut = False
        """Nothing arrives, nothing is lost: as when TCP repeats packets until a network heals."""
        self.is_dropping = False
        """Bytes are lost; their connection is closed when the direction heals, for it is torn."""
        self.delay_s = 0.0
        self.healed = asyncio.Event()
        self.healed.set()

    def set(self, *, cut: bool = False, drop: bool = False, delay_s: float = 0.0) -> None:
        self.is_cut, self.is_dropping, self.delay_s = cut, drop, delay_s
        if cut or drop:
            self.healed.clear()
        else:
            self.healed.set()


class Network:
    """All links of a cluster; they run on a thread of their own."""

    def __init__(self, cluster: LocalCluster) -> None:
        """Put a proxy on every link. Call before the nodes start."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.size = len(cluster.members)
        self.directions = {
            (a, b): Direction() for a in range(self.size) for b in range(self.size) if a != b
        }
        self.carried_bytes: Counter[tuple[int, int]] = Counter()
        self._taken = {
            port for member in cluster.members for port in (member.peer_port, member.http_port)
        }
        """The nodes' ports, which are free until they start."""
        for path in cluster.specs:
            self._reroute(path)

    def _reroute(self, path: Path) -> None:
        spec = load_spec(path)
        routes = tuple(
            RouteSpec(member.id, HOST, self._listen(spec, member.id))
            for member in spec.members
            if member.id < spec.node_id
        )
        write_private(path, dump_spec(msgspec.structs.replace(spec, routes=routes)))

    def _listen(self, spec: NodeSpec, target: int) -> int:
        pair = spec.node_id, target
        port = spec.members[target].peer_port

        async def listen() -> int:
            async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                await self._carry(pair, port, (reader, writer))

            while True:
                server = await asyncio.start_server(serve, HOST, 0)
                chosen = int(server.sockets[0].getsockname()[1])
                if chosen not in self._taken:
                    self._servers.append(server)
                    return chosen
                server.close()

        return asyncio.run_coroutine_threadsafe(listen(), self._loop).result(10)

    async def _carry(
        self,
        pair: tuple[int, int],
        port: int,
        near: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        """Carry one connection until either side, or a healed tear, ends it."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        writers = [near[1]]
        ways = self.directions[pair], self.directions[pair[1], pair[0]]
        try:
            # Without both ways no connection comes about: a handshake needs them.
            while any(way.is_cut or way.is_dropping for way in ways):
                for way in ways:
                    await way.healed.wait()
            far = await asyncio.open_connection(HOST, port)
            writers.append(far[1])
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(pair, near[0], far[1]))
                group.create_task(self._pump((pair[1], pair[0]), far[0], near[1]))
        except* (OSError, _EndedError):
            pass
        finally:
            self._tasks.discard(task)
            for writer in writers:
                writer.transport.abort()

    async def _pump(
        self, pair: tuple[int, int], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        direction = self.directions[pair]
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(CHUNKS_MAX)
        is_torn = False
        async with asyncio.TaskGroup() as group:
            group.create_task(self._deliver(pair, queue, writer))
            while data := await reader.read(CHUNK_BYTES):
                if direction.is_dropping and not is_torn:
                    is_torn = True
                    group.create_task(_end_when(direction.healed))
                if not is_torn:
                    await queue.put((self._loop.time() + direction.delay_s, data))
            # The end of a connection does not get through a cut either.
            await direction.healed.wait()
            raise _EndedError

    async def _deliver(
        self,
        pair: tuple[int, int],
        queue: asyncio.Queue[tuple[float, bytes]],
        writer: asyncio.StreamWriter,
    ) -> None:
        direction = self.directions[pair]
        while True:
            due, data = await queue.get()
            await asyncio.sleep(due - self._loop.time())
            if direction.is_cut:
                await direction.healed.wait()
            writer.write(data)
            await writer.drain()
            self.carried_bytes[pair] += len(data)

    # --- What tests do --------------------------------------------------------------------------

    def change(self, pairs: Iterable[tuple[int, int]], **how: object) -> None:
        """Set what happens from each first node to each second, from now on."""
        chosen = list(pairs)
        done = threading.Event()

        def apply() -> None:
            for pair in chosen:
                self.directions[pair].set(**how)
            done.set()

        self._loop.call_soon_threadsafe(apply)
        assert done.wait(10)

    def split(self, *groups: Iterable[int], drop: bool = False) -> None:
        """Cut every link between nodes of different groups, both ways."""
        side = {node: number for number, group in enumerate(groups) for node in group}
        pairs = [pair for pair in self.directions if side[pair[0]] != side[pair[1]]]
        self.change(pairs, **({"drop": True} if drop else {"cut": True}))

    def heal(self) -> None:
        """Let everything through again, at once."""
        self.change(self.directions)

    def close(self) -> None:
        """End every connection and the thread."""

        async def end() -> None:
            for server in self._servers:
                server.close()
            for task in tuple(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        with contextlib.suppress(RuntimeError):
            self._loop.close()


class _EndedError(Exception):
    """One side closed the connection."""


async def _end_when(healed: asyncio.Event) -> None:
    await healed.wait()
    raise _EndedError
