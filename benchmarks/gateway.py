"""CPU per request of a gateway alone: bytes of HTTP in, bytes out, nobody else asked.

Run `python -m benchmarks.gateway [--profile] [--rounds N]`. The parser, the gateway and the state
machine on RocksDB are the real ones; in place of replication, writes are executed at once and
strong reads are confirmed at once. So a row says what a gateway costs, and nothing about a cluster.
The least of many short windows is told: it holds on a machine that is busy with other things.
"""

import argparse
import asyncio
import cProfile
import pstats
import secrets
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from benchmarks.load import request_bytes
from benchmarks.statemachine import START_MS, Sent
from dataplane.client.keys import SCOPES, new_api_key
from dataplane.client.local import LocalCluster
from dataplane.client.spec import NodeSpec, load_spec
from dataplane.documents.cold import ColdReader
from dataplane.documents.commands import OpenSession, encode_op
from dataplane.documents.state import StateMachine
from dataplane.documents.types import Genesis, GenesisKey
from dataplane.gateways.context import Context
from dataplane.gateways.front import SWITCHES, Front
from dataplane.gateways.ports import Cluster, Encryption, Reads
from dataplane.gateways.rest.http import HttpProtocol, HttpServer
from dataplane.node.figures import NodeFigures
from dataplane.ports import SystemClock
from dataplane.replication.strong_reads import Confirmed
from dataplane.replication.submissions import Submitted
from dataplane.storage.engine import RocksStore

WINDOW = 500
"""Requests of one measurement."""
TURN = 16
"""Requests between two turns of the event loop, one of each connection."""


class Alone:
    """Replication of a cluster of one that orders nothing: what is submitted is executed."""

    def __init__(self, machine: StateMachine) -> None:
        self._machine = machine
        self._count = 0
        self.view = 0
        self.config = SimpleNamespace(epoch=0)

    @property
    def executed(self) -> int:
        """The last executed sequence."""
        return self._machine.applied

    def require_room(self, timeout_ms: int) -> None:
        """There is room."""

    async def submit(self, ops: Sequence[bytes], *, timeout_ms: int) -> Submitted:
        """Execute operations at once."""
        self._count += 1
        sequence = self._machine.applied + 1
        sent = [Sent(tuple(ops), self._count, self._count - 1)]
        result = self._machine.apply(sequence, START_MS + sequence, sent)
        return Submitted(result.requests[0].results, sequence)

    async def strong(self, place: tuple[str, str]) -> Confirmed:
        """Return what the state has."""
        row = self._machine.view.row(*place)
        return Confirmed(row, self._machine.applied, self._machine.applied)


class Sink:
    """Takes what is written to a connection."""

    def __init__(self) -> None:
        self.count = 0
        self.last = b""

    def write(self, data: bytes) -> None:
        """Count an answer."""
        self.count += 1
        self.last = data

    def is_closing(self) -> bool:
        """Never."""
        return False


def context_of(spec: NodeSpec, machine: StateMachine) -> Context:
    """Return a gateway's context without a cluster behind it."""
    alone, clock = Alone(machine), SystemClock()
    return Context(
        spec=spec,
        cluster=cast("Cluster", alone),
        reads=cast("Reads", alone),
        state=machine,
        figures=NodeFigures(clock),
        clock=clock,
        random_bytes=secrets.token_bytes,
        sign=bytes,
        encryption=cast("Encryption", None),
        cold=cast("ColdReader", None),
    )


async def drive(connections: list[tuple[HttpProtocol, Sink]], requests: Sequence[bytes]) -> float:
    """Answer requests; return the CPU time of one in microseconds."""
    done = sum(sink.count for _, sink in connections)
    started = time.thread_time()
    for first in range(0, len(requests), TURN):
        turn = requests[first : first + TURN]
        for (protocol, _), request in zip(connections, turn, strict=False):
            protocol.data_received(request)
        await asyncio.sleep(0)
    spent = time.thread_time() - started
    answered = sum(sink.count for _, sink in connections) - done
    assert answered == len(requests), f"{answered} of {len(requests)} were answered at once"
    return spent / len(requests) * 1e6


async def run(directory: Path, rounds: int, profiled: Callable[[Any], None]) -> None:
    """Run every measurement."""
    spec = load_spec(LocalCluster(directory / "cluster", 1).specs[0])
    key = new_api_key()
    genesis = Genesis((GenesisKey(key.id, bytes.fromhex(key.hash), "bench", SCOPES),))
    store = RocksStore(directory / "store")
    machine = StateMachine(store, genesis)
    machine.apply(1, START_MS, [Sent((encode_op(OpenSession(b"n")),), 0, 0)])
    app = Front(context_of(spec, machine))
    server = HttpServer(
        app, app.refuse, body_bytes_max=1 << 24, connections_max=TURN, switches=SWITCHES
    )
    connections = []
    for _ in range(TURN):
        protocol, sink = HttpProtocol(server, asyncio.get_running_loop()), Sink()
        protocol.connection_made(cast("asyncio.BaseTransport", sink))
        connections.append((protocol, sink))
    headers = {"Authorization": f"Bearer {key.token}", "Content-Type": "application/json"}
    body = b'{"text":"' + b"x" * 1012 + b'"}'
    paths = [f"/api/v1/collections/bench/documents/k{number}" for number in range(WINDOW)]
    work = {
        "put": [request_bytes("PUT", path, body, headers) for path in paths],
        "get, strong": [request_bytes("GET", path, b"", headers) for path in paths],
    }
    for name, requests in work.items():
        spent = [await drive(connections, requests) for _ in range(rounds)]
        assert connections[0][1].last.startswith(b"HTTP/1.1 200"), connections[0][1].last
        sys.stdout.write(f"{name:14} {min(spent):7.1f} us/request, least of {rounds} windows\n")
        profiled(name)
    store.close()


def main() -> None:
    """Run, profiled when asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--rounds", type=int, default=40)
    arguments = parser.parse_args()
    profile = cProfile.Profile()

    def show(_name: str) -> None:
        if arguments.profile:
            profile.disable()
            pstats.Stats(profile).sort_stats("tottime").print_stats(45)
            profile.clear()
            profile.enable()

    with tempfile.TemporaryDirectory() as directory:
        if arguments.profile:
            profile.enable()
        asyncio.run(run(Path(directory), arguments.rounds, show))


if __name__ == "__main__":
    main()
