"""What indexes cost the state machine alone, of real rows: python -m benchmarks.indexes.

CPU of this one thread on RocksDB, without network and votes: filling a collection that has none,
one or three indexes, building three over what is there, and asking for all of it.
"""

import argparse
import cProfile
import pstats
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import batched
from pathlib import Path
from typing import Final

from benchmarks.clusters import tell
from benchmarks.dataset import flights
from benchmarks.statemachine import START_MS, Sent
from dataplane.documents.commands import (
    CollectionPut,
    IndexPut,
    Maintain,
    Op,
    OpenSession,
    Put,
    decode_result,
    encode_op,
)
from dataplane.documents.state import StateMachine
from dataplane.documents.types import Genesis
from dataplane.documents.values import pack_document
from dataplane.query import parse_aggregate, run_aggregate
from dataplane.storage.engine import RocksStore

BULK: Final = 500
FIELDS: Final = ("dest", "dep_delay", "carrier")
QUESTIONS: Final = {
    "mean of all by group": [
        {"$group": {"_id": "$carrier", "delay": {"$avg": "$arr_delay"}}},
    ],
    "count of two conditions": [
        {"$match": {"distance": {"$gt": 2500}, "hour": 7}},
        {"$count": "n"},
    ],
    "count of all": [{"$count": "n"}],
}


class Machine:
    """A state machine and how much CPU what it did so far took."""

    def __init__(self, directory: Path) -> None:
        self._store = RocksStore(directory)
        self.state = StateMachine(self._store, Genesis())
        self._cseq = 0
        self.state.apply(1, START_MS, [Sent((encode_op(OpenSession(b"n")),), 0, 0)])

    def order(self, operations: Sequence[Op]) -> None:
        """Execute operations as one batch."""
        self._cseq += 1
        sent = Sent(tuple(map(encode_op, operations)), self._cseq, self._cseq - 1)
        sequence = self.state.applied + 1
        result = self.state.apply(sequence, START_MS + sequence, [sent])
        results = list(map(decode_result, result.requests[0].results))
        assert all(found.status < 300 for found in results), results[0]

    def close(self) -> None:
        """Let go of the store."""
        self._store.close()


def spent(work: Callable[[], object]) -> float:
    """Return the CPU seconds that some work takes this thread."""
    began = time.thread_time()
    work()
    return time.thread_time() - began


def put_indexes(machine: Machine, name: str, count: int) -> None:
    """Order so many indexes."""
    for field in FIELDS[:count]:
        machine.order([IndexPut(name, field.replace("_", "-"), ((field, 1),))])


def build(machine: Machine) -> list[float]:
    """Do all that is to be maintained; return the CPU seconds of each step."""
    steps: list[float] = []
    while machine.state.maintenance.is_due(0):
        steps.append(spent(lambda: machine.order([Maintain()])))
    return steps


def fill(machine: Machine, name: str, rows: Sequence[Put]) -> None:
    """Put all rows, a bulk in each batch."""
    for part in batched(rows, BULK):
        machine.order([Put(name, row.id, row.document) for row in part])


def run(directory: Path, count: int) -> None:
    """Measure everything once and print a row for each."""
    rows = [Put("rows", key, pack_document(body)) for key, body in flights(count)]
    machine = Machine(directory)
    for indexes in (0, 1, 3):
        name = f"of-{indexes}"
        machine.order([CollectionPut(name, pack_document({}))])
        put_indexes(machine, name, indexes)
        build(machine)
        took = spent(lambda: fill(machine, name, rows))  # noqa: B023
        root = spent(machine.state.root)
        tell(
            f"filled with {indexes} indexes   apply {took / count * 1e6:6.1f} us a document   "
            f"root {root / count * 1e6:5.1f}"
        )
    put_indexes(machine, "of-0", 3)
    steps = build(machine)
    root = spent(machine.state.root)
    tell(
        f"built 3 indexes over it   apply {sum(steps) / count * 1e6:6.1f} us a document   "
        f"root {root / count * 1e6:5.1f}   "
        f"steps {len(steps)}, the longest {max(steps) * 1e3:.1f} ms"
    )
    for name, stages in QUESTIONS.items():
        asked = parse_aggregate("of-0", {"pipeline": stages})
        took = min(spent(lambda: run_aggregate(machine.state.view, asked)) for _ in range(5))  # noqa: B023
        tell(f"{name:24}        {took / count * 1e6:6.2f} us a document")
    machine.close()


def main() -> int:
    """Measure and print, profiled when asked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.indexes", description=__doc__)
    parser.add_argument("--rows", type=int, default=30_000)
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        if not options.profile:
            run(Path(directory), options.rows)
            return 0
        profile = cProfile.Profile()
        profile.runcall(run, Path(directory), options.rows)
        pstats.Stats(profile).sort_stats("tottime").print_stats(40)
    return 0


if __name__ == "__main__":
    sys.exit(main())
