"""What a cluster costs as its data grows: python -m benchmarks.growth --sizes 10000,100000,1000000.

At each size: memory of a node, bytes on disk, bytes written for each byte of documents since the
size before, and the latency of single writes and reads; then, once, many connections that idle.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final, get_args

from benchmarks.clusters import running, tell
from benchmarks.dataset import flights
from benchmarks.load import Result, cpu_seconds, request_bytes, run_load
from dataplane.client import Client
from dataplane.client.local import LocalCluster
from dataplane.client.spec import Algorithm

BULK: Final = 500
COLLECTION: Final = "flights"
CONNECTIONS: Final = 16


def fill(cluster: LocalCluster, name: str, rows: Iterable[tuple[str, dict[str, Any]]]) -> float:
    """Put documents, 500 a request; return the seconds it took."""
    began = time.perf_counter()
    source = iter(rows)
    with Client(cluster.urls, cluster.api_key) as client:
        while batch := list(islice(source, BULK)):
            operations = [{"op": "put", "id": key, "document": body} for key, body in batch]
            results = client.bulk(name, operations)
            failed = [result for result in results if result["status"] >= 400]
            if failed:
                raise RuntimeError(f"a document was refused: {failed[0]}")
    return time.perf_counter() - began


def resident_bytes(cluster: LocalCluster) -> int:
    """Return the memory of all nodes together."""
    pages = sum(int(_proc(pid, "statm").split()[1]) for pid in cluster.pids)
    return pages * os.sysconf("SC_PAGE_SIZE")


def written_bytes(cluster: LocalCluster) -> int:
    """Return what all nodes together have sent to the disk so far."""
    total = 0
    for pid in cluster.pids:
        fields = dict(line.split(": ") for line in _proc(pid, "io").splitlines())
        total += int(fields["write_bytes"])
    return total


def disk_bytes(cluster: LocalCluster) -> int:
    """Return what all nodes together hold on disk."""
    return sum(file.stat().st_size for file in cluster.directory.rglob("*") if file.is_file())


def _proc(pid: int, name: str) -> str:
    return Path(f"/proc/{pid}/{name}").read_text()


def requests(cluster: LocalCluster, method: str, number: int, size: int) -> Iterator[bytes]:
    """Yield single writes or reads, spread over all documents."""
    headers = {"Authorization": f"Bearer {cluster.api_key}", "Content-Type": "application/json"}
    body = json.dumps(next(flights(1))[1]).encode() if method == "PUT" else b""
    at = number * 7919
    while True:
        at = (at + 104_729) % size
        path = f"/api/v1/collections/{COLLECTION}/documents/{at:07}"
        yield request_bytes(method, path, body, headers)


def load(cluster: LocalCluster, method: str, size: int, seconds: float) -> Result:
    """Drive single requests for some seconds."""
    return asyncio.run(
        run_load(
            [(member.host, member.http_port) for member in cluster.members],
            lambda number: requests(cluster, method, number, size),
            connections=CONNECTIONS,
            warm_up_s=1.0,
            window_s=seconds,
            server_pids=cluster.pids,
        )
    )


async def idle(cluster: LocalCluster, count: int, seconds: float) -> str:
    """Open connections that do nothing; say what they cost."""
    before = resident_bytes(cluster)
    members = cluster.members
    opened = [
        await asyncio.open_connection(
            members[number % len(members)].host, members[number % len(members)].http_port
        )
        for number in range(count)
    ]
    began, cpu = time.perf_counter(), cpu_seconds(cluster.pids)
    await asyncio.sleep(seconds)
    share = (cpu_seconds(cluster.pids) - cpu) / (time.perf_counter() - began)
    memory = (resident_bytes(cluster) - before) / count
    for _, writer in opened:
        writer.close()
    return (
        f"{count} idle connections: {memory / 1024:.1f} KiB each, "
        f"all nodes together {share:.1%} of a processor"
    )


def grow(cluster: LocalCluster, sizes: list[int], seconds: float) -> None:
    """Measure at each size."""
    source = flights(sizes[-1])
    size = 0
    for wanted in sizes:
        rows = list(islice(source, wanted - size))
        logical = sum(len(key) + len(json.dumps(body)) for key, body in rows)
        written = written_bytes(cluster)
        took = fill(cluster, COLLECTION, rows)
        amplification = (written_bytes(cluster) - written) / logical / len(cluster.members)
        rate, size = len(rows) / took, wanted
        nodes = len(cluster.members)
        tell(
            f"{size:>9,} documents: filled {rate:,.0f}/s, a node: "
            f"resident {resident_bytes(cluster) / nodes / 1e6:.0f} MB, "
            f"on disk {disk_bytes(cluster) / nodes / 1e6:.0f} MB, "
            f"{amplification:.1f} bytes written a byte"
        )
        for method in ("PUT", "GET"):
            tell(load(cluster, method, size, seconds).line(f"  {method} c={CONNECTIONS}"))


def parse(given: list[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("--sizes", default="10000,100000,1000000", help="rising, with commas")
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--encrypt", choices=get_args(Algorithm.__value__), help="at rest")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--idle", type=int, default=1_000, help="connections that do nothing")
    options = parser.parse_args(given)
    options.sizes = [int(part) for part in options.sizes.split(",")]
    if options.sizes != sorted(set(options.sizes)) or options.sizes[0] < 1:
        parser.error("sizes rise")
    return options


def main() -> int:
    """Measure and print."""
    options = parse(sys.argv[1:])
    tell(f"load average {os.getloadavg()[0]:.1f}, {os.cpu_count()} processors")
    with (
        tempfile.TemporaryDirectory() as directory,
        running(Path(directory), options.nodes, options.encrypt) as cluster,
    ):
        tell(asyncio.run(idle(cluster, options.idle, options.seconds)))
        grow(cluster, options.sizes, options.seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
