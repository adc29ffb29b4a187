"""Ask real questions beside PostgreSQL's JSONB: python -m benchmarks.flights --rows 336776."""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args

from benchmarks.beside import words, writing
from benchmarks.clusters import running, tell
from benchmarks.dataset import ROWS, flights
from benchmarks.filling import fill
from benchmarks.load import cpu_seconds
from benchmarks.postgres import Postgres
from benchmarks.processes import disk_bytes, resident_bytes
from dataplane.client import Client
from dataplane.client.local import LocalCluster
from dataplane.client.spec import Algorithm

COLLECTION: Final = "flights"
INDEXES: Final = {"dest": "dest", "delay": "dep_delay", "carrier": "carrier"}
BUILD_S: Final = 600
BESIDE: Final = "beside"
QUIET_S: Final = 3


@dataclass(frozen=True, slots=True)
class Question:
    """One question in both languages."""

    name: str
    ours: Callable[[Client], list[Any]]
    theirs: str


def _query(**options: Any) -> Callable[[Client], list[Any]]:
    return lambda client: list(client.query(COLLECTION, **options)["documents"])


def _aggregate(*stages: dict[str, Any]) -> Callable[[Client], list[Any]]:
    return lambda client: list(client.aggregate(COLLECTION, list(stages))["documents"])


QUESTIONS: Final = (
    Question(
        "one document by id",
        lambda client: [client.get(COLLECTION, "0000100")],
        "select id, body from flights where id = '0000100'",
    ),
    Question(
        "20 to Anchorage",
        _query(filter={"dest": "ANC"}, limit=20),
        "select id, body from flights where body->>'dest' = 'ANC' limit 20",
    ),
    Question(
        "the 20 latest starts",
        _query(filter={"dep_delay": {"$gt": 300}}, sort={"dep_delay": -1}, limit=20),
        "select id, body from flights where (body->>'dep_delay')::int > 300 "
        "order by (body->>'dep_delay')::int desc limit 20",
    ),
    Question(
        "mean delay of one airline by origin",
        _aggregate(
            {"$match": {"carrier": "OO"}},
            {"$group": {"_id": "$origin", "delay": {"$avg": "$arr_delay"}}},
        ),
        "select body->>'origin', avg((body->>'arr_delay')::int) from flights "
        "where body->>'carrier' = 'OO' group by 1",
    ),
    Question(
        "count of two conditions, no index",
        _aggregate({"$match": {"distance": {"$gt": 2500}, "hour": 7}}, {"$count": "n"}),
        "select count(*) from flights where (body->>'distance')::int > 2500 "
        "and (body->>'hour')::int = 7",
    ),
    Question(
        "mean delay of every airline",
        _aggregate({"$group": {"_id": "$carrier", "delay": {"$avg": "$arr_delay"}}}),
        "select body->>'carrier', avg((body->>'arr_delay')::int) from flights group by 1",
    ),
)


def repeat(ask: Callable[[], list[Any]], seconds: float) -> tuple[float, int, int]:
    """Ask for some seconds, 3 times at least; return median milliseconds, times, rows."""
    took: list[float] = []
    rows = len(ask())
    until = time.perf_counter() + seconds
    while len(took) < 3 or time.perf_counter() < until:
        began = time.perf_counter()
        ask()
        took.append((time.perf_counter() - began) * 1000)
    return statistics.median(took), len(took), rows


def index(client: Client) -> float:
    """Build the indexes; return the seconds until the last is ready."""
    began = time.perf_counter()
    for name, field in INDEXES.items():
        client.index_put(COLLECTION, name, fields={field: 1})
    while not all(found["state"] == "ready" for found in client.indexes(COLLECTION)):
        if time.perf_counter() - began > BUILD_S:
            raise TimeoutError(f"an index is not ready within {BUILD_S} s")
        time.sleep(0.1)
    return time.perf_counter() - began


def index_alone(cluster: LocalCluster, client: Client) -> str:
    """Build the indexes in a cluster that does nothing else; say what it took."""
    cpu = cpu_seconds(cluster.pids)
    built_s = index(client)
    spent = cpu_seconds(cluster.pids) - cpu
    return f"indexes built in {built_s:.1f} s, {spent:.1f} s of CPU of all nodes"


def index_beside(cluster: LocalCluster, client: Client) -> str:
    """Build the indexes anew while somebody writes; say what writes felt of it."""
    for name in INDEXES:
        client.index_drop(COLLECTION, name)
    with writing(cluster, BESIDE) as took:
        time.sleep(QUIET_S)
        before = len(took)
        built = index_alone(cluster, client)
        during = took[before:]
    return f"{built}, beside writes\n  before: {words(took[:before])}\n  beside: {words(during)}"


def ask_all(client: Client, postgres: Postgres | None, seconds: float, indexes: str) -> None:
    """Ask every question, of both in turn, and print a row for each."""
    for question in QUESTIONS:
        mine, times, rows = repeat(lambda: question.ours(client), seconds)  # noqa: B023
        line = f"{question.name:<36} {indexes:<8} ours {mine:>9.2f} ms ({times} times, {rows} rows)"
        if postgres is not None:
            theirs, times, other = repeat(lambda: postgres.ask(question.theirs), seconds)  # noqa: B023
            line += f"  postgres {theirs:>8.2f} ms ({times})  ratio {mine / theirs:.2f}"
            if rows != other:
                line += f"  DIFFERENT: {other} rows"
        tell(line)


def measure(directory: Path, options: argparse.Namespace) -> None:
    """Fill both, ask without and with indexes."""
    postgres = Postgres(directory / "postgres") if options.postgres else None
    try:
        if postgres is not None:
            postgres.start()
            began = time.perf_counter()
            postgres.fill(flights(options.rows))
            tell(f"postgres filled: {options.rows / (time.perf_counter() - began):.0f} documents/s")
        with running(directory / "ours", options.nodes, options.encrypt) as cluster:
            took = fill(cluster, COLLECTION, flights(options.rows))
            tell(f"n={options.nodes} filled: {options.rows / took:.0f} documents/s")
            with Client(cluster.urls, cluster.api_key) as client:
                ask_all(client, postgres, options.seconds, "none")
                tell(index_alone(cluster, client))
                if options.beside:
                    tell(index_beside(cluster, client))
                if postgres is not None:
                    began = time.perf_counter()
                    postgres.index()
                    tell(f"postgres indexed in {time.perf_counter() - began:.1f} s")
                ask_all(client, postgres, options.seconds, "3")
            stored = disk_bytes(cluster) / len(cluster.members)
            memory = resident_bytes(cluster) / len(cluster.members)
            tell(f"on disk a node {stored / 1e6:.0f} MB, resident {memory / 1e6:.0f} MB")
        if postgres is not None:
            tell(f"postgres table with indexes {postgres.stored_bytes / 1e6:.0f} MB")
    finally:
        if postgres is not None:
            postgres.stop()


def parse(given: list[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.flights", description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--encrypt", choices=get_args(Algorithm.__value__), help="at rest")
    parser.add_argument("--seconds", type=float, default=2.0, help="a question")
    parser.add_argument("--beside", action="store_true", help="also build while somebody writes")
    parser.add_argument("--postgres", action="store_true", help="beside PostgreSQL")
    return parser.parse_args(given)


def main() -> int:
    """Measure and print."""
    options = parse(sys.argv[1:])
    tell(f"load average {os.getloadavg()[0]:.1f}, {os.cpu_count()} processors")
    with tempfile.TemporaryDirectory() as directory:
        # A server that may not run as root must reach its data.
        Path(directory).chmod(0o711)
        measure(Path(directory), options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
