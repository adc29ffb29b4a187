"""What a cluster costs as its data grows: python -m benchmarks.growth --sizes 10000,100000,1000000.

At each size: memory of a node, bytes on disk, bytes written for each byte of documents since the
size before, and the latency of single writes and reads.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Final, get_args

import msgspec

from benchmarks.clusters import running, tell
from benchmarks.dataset import flights
from benchmarks.filling import Row, fill
from benchmarks.load import Result, request_bytes, run_load
from benchmarks.processes import disk_bytes, resident_bytes, written_bytes
from dataplane.client.local import LocalCluster
from dataplane.client.spec import Algorithm

COLLECTION: Final = "flights"
CONNECTIONS: Final = 16


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


class Counted:
    """Rows on their way, and how long they are."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._rows = rows
        self.count = 0
        self.size_bytes = 0

    def __iter__(self) -> Iterator[Row]:
        """Yield them."""
        for key, body in self._rows:
            self.count += 1
            self.size_bytes += len(key) + len(msgspec.json.encode(body))
            yield key, body


def grow(cluster: LocalCluster, sizes: list[int], seconds: float) -> None:
    """Measure at each size."""
    source = flights(sizes[-1])
    size = 0
    for wanted in sizes:
        rows = Counted(islice(source, wanted - size))
        written = written_bytes(cluster)
        took = fill(cluster, COLLECTION, rows)
        amplification = (written_bytes(cluster) - written) / rows.size_bytes
        rate, size = rows.count / took, wanted
        nodes = len(cluster.members)
        tell(
            f"{size:>9,} documents: filled {rate:,.0f}/s, a node: "
            f"resident {resident_bytes(cluster) / nodes / 1e6:.0f} MB, "
            f"on disk {disk_bytes(cluster) / nodes / 1e6:.0f} MB, "
            f"{amplification / nodes:.1f} bytes written a byte"
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
        grow(cluster, options.sizes, options.seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
