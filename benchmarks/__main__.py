"""Measure a local cluster over HTTP: python -m benchmarks --op put --nodes 4 --connections 64."""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.load import Result, request_bytes, run_load
from dataplane.client.local import LocalCluster

BULK = 1_000


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
    from dataplane.client import Client  # noqa: PLC0415 - only reads need it

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


def wait_ready(cluster: LocalCluster) -> None:
    """Wait until every node serves."""
    until = time.perf_counter() + 30
    while not all(cluster.is_ready(index) for index in range(len(cluster.members))):
        if time.perf_counter() > until:
            raise TimeoutError("the cluster is not ready within 30 s")
        time.sleep(0.1)


def parse() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--op", default="put", choices=["put", "get", "local", "query", "bulk"])
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--warm-up", type=float, default=2.0)
    parser.add_argument("--size", type=int, default=1024, help="bytes of a document")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--etcd", action="store_true", help="and 3-node etcd (put, get)")
    return parser.parse_args()


def main() -> int:
    """Measure and print."""
    arguments = parse()
    if arguments.etcd and arguments.op not in {"put", "get"}:
        sys.stderr.write("etcd is measured with --op put or get\n")
        return 2
    out = sys.stdout
    out.write(f"load average {os.getloadavg()[0]:.1f}, {os.cpu_count()} processors\n")
    with tempfile.TemporaryDirectory() as directory:
        for turn in range(arguments.rounds):
            cluster = LocalCluster(Path(directory) / f"ours-{turn}", arguments.nodes)
            cluster.start()
            try:
                wait_ready(cluster)
                result = measure(cluster, arguments)
            finally:
                cluster.kill()
            name = f"aerolith n={arguments.nodes} {arguments.op} c={arguments.connections}"
            out.write(result.line(name) + "\n")
            if arguments.etcd:
                peer = measure_etcd(Path(directory) / f"etcd-{turn}", arguments)
                out.write(peer.line(f"etcd n=3 {arguments.op} c={arguments.connections}") + "\n")
                out.write(f"ratio of rates {result.rate / peer.rate:.2f}\n")
            out.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
