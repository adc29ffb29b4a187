"""What tiers cost: python -m benchmarks.cold --nodes 1,4.

Documents are made cold, then read and changed one at a time at one node, each first where its
segment has to be put together, then where that is in memory; the same is done to hot ones beside.
"""

import argparse
import base64
import hashlib
import http.client
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, get_args

from benchmarks.__main__ import sizes
from benchmarks.clusters import running, tell
from benchmarks.filling import fill
from benchmarks.load import Reading, Result, conclude, cpu_seconds, machine_seconds
from dataplane.client import Client
from dataplane.client.local import LocalCluster
from dataplane.client.spec import Algorithm

COLD, HOT = "cold", "hot"
SEGMENT: Final = 256
"""Documents of one segment at most: so far apart, two are never in the same one."""
SEAL_S: Final = 600
RETURN_S: Final = 5
STAY_S: Final = 86_400
UPDATE: Final = b'{"$inc":{"n":1}}'


def rows(count: int, size: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield documents of about so many bytes that do not compress well."""
    for number in range(count):
        noise = hashlib.shake_256(b"%d" % number).digest(size * 3 // 4)
        text = base64.b64encode(noise).decode()
        yield f"{number:07}", {"n": number, "text": text}


def held(client: Client) -> dict[str, Any]:
    """Return how many documents of the cold collection are in which tier."""
    found = next(each for each in client.collections() if each["name"] == COLD)
    return {tier: part["documents"] for tier, part in found["tiers"].items()}


def seal(cluster: LocalCluster, client: Client, count: int) -> str:
    """Make all documents cold; say what that cost."""
    began, cpu = time.perf_counter(), cpu_seconds(cluster.pids)
    client.collection_put(COLD, {"tiering": {"cold_after_s": 1}})
    while held(client)["ssd"] > 0:
        if time.perf_counter() - began > SEAL_S:
            raise TimeoutError(f"not all is cold within {SEAL_S} s: {held(client)}")
        time.sleep(0.1)
    took, spent = time.perf_counter() - began, cpu_seconds(cluster.pids) - cpu
    # What is read now stays where it comes to.
    client.collection_put(COLD, {"tiering": {"cold_after_s": STAY_S}})
    return (
        f"{count} documents made cold in {took:.1f} s: {count / took:,.0f}/s, "
        f"all nodes together {spent / count * 1e6:.0f} us a document"
    )


def reading(cluster: LocalCluster) -> Reading:
    """Return the times that a window begins or ends with."""
    return time.perf_counter(), cpu_seconds(cluster.pids), time.process_time(), machine_seconds()


def one_by_one(
    cluster: LocalCluster, method: str, collection: str, numbers: Iterable[int]
) -> Result:
    """Read or change single documents at the first node, one after the other."""
    member, result = cluster.members[0], Result()
    connection = http.client.HTTPConnection(member.host, member.http_port, timeout=30)
    headers = {"Authorization": f"Bearer {cluster.api_key}"}
    if method == "PATCH":
        headers["Content-Type"] = "application/vnd.aerolith.update+json"
    body = UPDATE if method == "PATCH" else None
    before = reading(cluster)
    for number in numbers:
        at = time.perf_counter()
        path = f"/api/v1/collections/{collection}/documents/{number:07}"
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        json.loads(answer.read())
        result.latencies.append((time.perf_counter() - at) * 1000)
        result.operations += answer.status == 200
        result.failures += answer.status != 200
    conclude(result, before, reading(cluster))
    connection.close()
    return result


def returned(client: Client, asked: int) -> str:
    """Say how many documents are hot again; what is only read comes back if there is room."""
    began = time.perf_counter()
    found = held(client)["ssd"]
    while found < asked and time.perf_counter() - began < RETURN_S:
        time.sleep(0.01)
        found = held(client)["ssd"]
    took = time.perf_counter() - began
    return f"{found} of the {asked} that were asked for are hot again, {took:.2f} s later"


def measure(cluster: LocalCluster, options: argparse.Namespace) -> None:
    """Measure one cluster and print its rows."""
    count = options.documents
    firsts = range(SEGMENT // 2, count, SEGMENT)
    for name in (HOT, COLD):
        fill(cluster, name, rows(count, options.size))
    with Client(cluster.urls, cluster.api_key) as client:
        tell(f"n={len(cluster.members)}  " + seal(cluster, client, count))
        asked = (
            ("GET, hot", "GET", HOT, 0),
            ("GET, cold, to be put together", "GET", COLD, 0),
            ("GET, cold, segment in memory", "GET", COLD, 1),
            ("update, hot", "PATCH", HOT, 2),
            ("update, cold, segment in memory", "PATCH", COLD, 2),
        )
        for name, method, collection, shift in asked:
            numbers = [number + shift for number in firsts]
            tell("  " + one_by_one(cluster, method, collection, numbers).line(name))
        tell("  " + returned(client, 3 * len(firsts)))


def parse(given: list[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cold", description=__doc__)
    parser.add_argument("--nodes", type=sizes, default=[1, 4], help="one or several, as 1,4,7")
    parser.add_argument("--documents", type=int, default=100 * SEGMENT)
    parser.add_argument("--size", type=int, default=1024, help="bytes of a document")
    parser.add_argument("--encrypt", choices=get_args(Algorithm.__value__), help="at rest")
    options = parser.parse_args(given)
    if options.documents < 4 * SEGMENT or options.size < 128:
        parser.error(f"at least {4 * SEGMENT} documents of 128 bytes")
    return options


def main() -> int:
    """Measure and print."""
    options = parse(sys.argv[1:])
    tell(f"load average {os.getloadavg()[0]:.1f}, {os.cpu_count()} processors")
    for nodes in options.nodes:
        with (
            tempfile.TemporaryDirectory() as directory,
            running(Path(directory), nodes, options.encrypt) as cluster,
        ):
            measure(cluster, options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
