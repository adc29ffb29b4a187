"""CPU per operation of the state machine alone, on RocksDB: no network, no votes.

Run `python -m benchmarks.statemachine [--profile]`.
"""

import argparse
import cProfile
import pstats
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from dataplane.documents.commands import Get, Op, OpenSession, Put, encode_op, session_id
from dataplane.documents.state import StateMachine
from dataplane.documents.types import Genesis
from dataplane.documents.values import pack_document
from dataplane.query import parse_query, run_query
from dataplane.storage.engine import RocksStore

BUNDLE = 256
BATCHES = 128
START_MS = 1_700_000_000_000
CLIENT = b"c" * 32


class Sent(msgspec.Struct, frozen=True):
    """One request."""

    ops: tuple[bytes, ...]
    cseq: int
    ack: int
    client: bytes = CLIENT
    session: bytes = session_id(CLIENT, b"n")


def measure(machine: StateMachine, name: str, operations: Sequence[Op]) -> None:
    """Apply the operations in bundles and print what one of them cost."""
    requests = []
    for start in range(0, len(operations), BUNDLE):
        number = machine.applied + start // BUNDLE
        ops = tuple(map(encode_op, operations[start : start + BUNDLE]))
        requests.append(Sent(ops, number, number - 1))
    spent: list[float] = []
    for request in requests:
        started = time.thread_time()
        result = machine.apply(machine.applied + 1, START_MS + machine.applied, [request])
        spent.append((time.thread_time() - started) / len(request.ops) * 1e6)
        assert result.requests[0].status == "ok", result.requests[0].status
    started = time.thread_time()
    machine.root()
    root_us = (time.thread_time() - started) / len(operations) * 1e6
    tenth, median = sorted(spent)[len(spent) // 10], statistics.median(spent)
    sys.stdout.write(
        f"{name:28} apply {median:6.1f} us/op (best tenth of the batches {tenth:5.1f})"
        f"   root {root_us:6.2f} us/op\n"
    )


def scan(machine: StateMachine) -> None:
    """Print the rate of a filter that matches nothing."""
    request = parse_query("bench", {"filter": {"field3": "none"}})
    started = time.thread_time()
    scanned = run_query(machine.view, request).scanned
    spent = time.thread_time() - started
    sys.stdout.write(f"{'filter scan':28} {spent / scanned * 1e6:12.2f} us/document\n")


def run(path: Path) -> None:
    """Run every measurement on a fresh store."""
    store = RocksStore(path)
    machine = StateMachine(store, Genesis())
    machine.apply(1, START_MS, [Sent((encode_op(OpenSession(b"n")),), 0, 0)])
    body = pack_document({f"field{number}": "x" * 90 for number in range(10)})
    ids = [f"document-{number:08d}" for number in range(BUNDLE * BATCHES)]
    measure(machine, "put, new", [Put("bench", name, body) for name in ids])
    measure(machine, "put, replace", [Put("bench", name, body) for name in ids])
    keyed = [Put("keyed", name, body, idempotency=name.encode().rjust(32)) for name in ids]
    measure(machine, "put, new, idempotency key", keyed)
    measure(machine, "get", [Get("bench", name) for name in ids])
    scan(machine)
    store.close()


def main() -> None:
    """Run, profiled when asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", action="store_true")
    profiled = parser.parse_args().profile
    with tempfile.TemporaryDirectory() as directory:
        if not profiled:
            run(Path(directory))
            return
        profile = cProfile.Profile()
        profile.runcall(run, Path(directory))
        pstats.Stats(profile).sort_stats("tottime").print_stats(25)


if __name__ == "__main__":
    main()
