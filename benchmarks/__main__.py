"""Measure a local cluster over HTTP: python -m benchmarks --op put --nodes 4 --connections 64."""

import argparse
import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from benchmarks.clusters import running, tell
from benchmarks.load import Result, request_bytes, run_load
from benchmarks.recovery import recover
from benchmarks.report import Pair, summary
from dataplane.client import Client
from dataplane.client.local import LocalCluster
from dataplane.client.quorum import crashes_tolerated
from dataplane.client.spec import MEMBERS_MAX, Algorithm

BULK = 1_000
PEER_NODES = 3
RECOVERY_ROUNDS = 5


def documents(number: int, cluster: LocalCluster, operation: str, size: int) -> Iterator[bytes]:
    """Yield requests of one connection."""
    headers = {
        "Authorization": f"Bearer {cluster.api_key}",
        "Content-Type": "application/json",
    }
    body = json.dumps({"text": "x" * max(0, size - 12)}).encode()
    base, count = "/api/v1/collections/bench", 0
    while True:
        count += 1
        path = f"{base}/documents/k{number}-{count % 1000}"
        match operation:
            case "put":
                yield request_bytes("PUT", path, body, headers)
            case "get":
                yield request_bytes("GET", f"{base}/documents/k0-{count % 100}", b"", headers)
            case "local":
                path = f"{base}/documents/k0-{count % 100}?consistency=local"
                yield request_bytes("GET", path, b"", headers)
            case "query":
                query = json.dumps({"filter": {"_id": f"k0-{count % 100}"}}).encode()
                yield request_bytes("POST", f"{base}/query", query, headers)
            case _:
                yield request_bytes("POST", f"{base}/bulk", bulk_body(number, count, body), headers)


def bulk_body(number: int, count: int, document: bytes) -> bytes:
    """Return a bulk request of 1,000 puts."""
    items = b",".join(
        b'{"op":"put","id":"b%d-%d-%d","document":%s}' % (number, count % 20, item, document)
        for item in range(BULK)
    )
    return b'{"operations":[' + items + b"]}"


def measure(cluster: LocalCluster, arguments: argparse.Namespace) -> Result:
    """Measure our own cluster once."""
    addresses = [(member.host, member.http_port) for member in cluster.members]
    if arguments.op in {"get", "query", "local"}:
        fill(cluster, arguments.size)
    return asyncio.run(
        run_load(
            addresses,
            lambda number: documents(number, cluster, arguments.op, arguments.size),
            connections=arguments.connections,
            warm_up_s=arguments.warm_up,
            window_s=arguments.seconds,
            server_pids=cluster.pids,
        )
    )


def fill(cluster: LocalCluster, size: int) -> None:
    """Put the documents that reads will find."""
    with Client(cluster.urls, cluster.api_key) as client:
        operations = [
            {"op": "put", "id": f"k0-{number}", "document": {"text": "x" * size}}
            for number in range(100)
        ]
        client.bulk("bench", operations)


def measure_etcd(directory: Path, arguments: argparse.Namespace) -> Result:
    """Measure the peer once, with the same generator."""
    from benchmarks.etcd import Etcd  # noqa: PLC0415 - a development dependency

    etcd = Etcd(directory)
    etcd.start()
    try:
        return asyncio.run(
            run_load(
                etcd.addresses,
                lambda _number: etcd.requests(arguments.op, arguments.size),
                connections=arguments.connections,
                warm_up_s=arguments.warm_up,
                window_s=arguments.seconds,
                server_pids=etcd.pids,
            )
        )
    finally:
        etcd.stop()


def compare(directory: Path, arguments: argparse.Namespace) -> None:
    """Measure each size of cluster in turn, each beside the peer when that is wanted.

    Every second pair begins with the peer, so that a machine that becomes busier, or warmer, does
    not always harm the same one.
    """
    pairs: list[Pair] = []
    for turn in range(arguments.rounds or 1):
        for nodes in arguments.nodes:
            home = directory / f"{turn}-{nodes}"
            peer_first = turn % 2 == 1
            peer = measure_peer(home / "etcd", arguments) if peer_first else None
            with running(home / "ours", nodes, arguments.encrypt) as cluster:
                ours = measure(cluster, arguments)
            tell(ours.line(f"aerolith n={nodes} {arguments.op} c={arguments.connections}"))
            peer = peer if peer_first else measure_peer(home / "etcd", arguments)
            if peer is not None:
                pairs.append(Pair(nodes, ours, peer))
                tell(pairs[-1].line())
    for row in summary(pairs):
        tell(row)


def measure_peer(directory: Path, arguments: argparse.Namespace) -> Result | None:
    """Measure the peer when that is wanted."""
    if not arguments.etcd:
        return None
    peer = measure_etcd(directory, arguments)
    tell(peer.line(f"etcd n={PEER_NODES} {arguments.op} c={arguments.connections}"))
    return peer


def measure_recovery(directory: Path, arguments: argparse.Namespace) -> bool:
    """Kill primaries of each size of cluster; return whether nothing was lost."""
    is_whole = True
    for nodes in arguments.nodes:
        with running(directory / str(nodes), nodes, arguments.encrypt) as cluster:
            is_whole &= asyncio.run(
                recover(
                    cluster,
                    tell,
                    connections=arguments.connections,
                    rounds=arguments.rounds or RECOVERY_ROUNDS,
                    load_s=arguments.warm_up,
                    size=arguments.size,
                )
            )
    return is_whole


def sizes(text: str) -> list[int]:
    """Return the sizes of clusters in a list with commas.

    Raises:
        ValueError: It is not one.
    """
    found = [int(part) for part in text.split(",")]
    if not all(1 <= size <= MEMBERS_MAX and size != 2 for size in found):
        raise ValueError(f"a cluster has 1 or 3 to {MEMBERS_MAX} nodes")
    return found


def parse(given: list[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    operations = ["put", "get", "local", "query", "bulk", "recovery"]
    parser.add_argument("--op", default="put", choices=operations)
    parser.add_argument("--nodes", type=sizes, default=[4], help="one or several, as 1,4,7")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--warm-up", type=float, default=2.0, help="also before each kill")
    parser.add_argument("--size", type=int, default=1024, help="bytes of a document")
    parser.add_argument("--rounds", type=int, help="1; of recovery 5")
    parser.add_argument("--encrypt", choices=get_args(Algorithm.__value__), help="at rest")
    parser.add_argument("--etcd", action="store_true", help="beside 3-node etcd (put, get)")
    options = parser.parse_args(given)
    if options.etcd and options.op not in {"put", "get"}:
        parser.error("etcd is measured with --op put or get")
    if options.op == "recovery" and not all(map(crashes_tolerated, options.nodes)):
        parser.error("a cluster that survives the loss of a node has at least 3")
    return options


def main() -> int:
    """Measure and print."""
    arguments = parse(sys.argv[1:])
    tell(f"load average {os.getloadavg()[0]:.1f}, {os.cpu_count()} processors")
    with tempfile.TemporaryDirectory() as directory:
        if arguments.op == "recovery":
            return 0 if measure_recovery(Path(directory), arguments) else 1
        compare(Path(directory), arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main())
