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
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args

from benchmarks.__main__ import sizes
from benchmarks.clusters import running, tell
from benchmarks.filling import fill
from benchmarks.load import Result, conclude, cpu_seconds, reading
from dataplane.client import Client
from dataplane.client.local import LocalCluster
from dataplane.client.spec import Algorithm, ArchiveSpec

HOT: Final = "hot"
BUCKET: Final = "bench"
SEGMENT: Final = 256
"""Documents of one segment at most: so far apart, two are never in the same one."""
MOVE_S: Final = 600
RETURN_S: Final = 5
STAY_S: Final = 86_400
ALGORITHMS: Final = get_args(Algorithm.__value__)
UPDATE: Final = b'{"$inc":{"n":1}}'


@dataclass(frozen=True, slots=True)
class Tier:
    """Where a collection goes."""

    collection: str
    name: str
    options: tuple[str, ...]

    def policy(self, seconds: int) -> dict[str, int]:
        """Return the policy by which documents leave after so long."""
        return {option: seconds + place for place, option in enumerate(self.options)}


COLD: Final = Tier("cold", "distributed", ("cold_after_s",))
ARCHIVED: Final = Tier("archived", "archive", ("cold_after_s", "archive_after_s"))


def rows(count: int, size: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield documents of about so many bytes that do not compress well."""
    for number in range(count):
        noise = hashlib.shake_256(b"%d" % number).digest(size * 3 // 4)
        text = base64.b64encode(noise).decode()
        yield f"{number:07}", {"n": number, "text": text}


def held(client: Client, name: str) -> dict[str, int]:
    """Return how many documents of a collection are in which tier."""
    found = next(each for each in client.collections() if each["name"] == name)
    return {tier: int(part["documents"]) for tier, part in found["tiers"].items()}


def move(cluster: LocalCluster, client: Client, tier: Tier, count: int) -> str:
    """Have all documents of a collection move to a tier; say what that cost."""
    began, cpu = time.perf_counter(), cpu_seconds(cluster.pids)
    client.collection_put(tier.collection, {"tiering": tier.policy(1)})
    while held(client, tier.collection)[tier.name] < count:
        if time.perf_counter() - began > MOVE_S:
            found = held(client, tier.collection)
            raise TimeoutError(f"not all is {tier.collection} within {MOVE_S} s: {found}")
        time.sleep(0.1)
    took, spent = time.perf_counter() - began, cpu_seconds(cluster.pids) - cpu
    # What is read now stays where it comes to.
    client.collection_put(tier.collection, {"tiering": tier.policy(STAY_S)})
    return (
        f"{count} documents made {tier.collection} in {took:.1f} s: {count / took:,.0f}/s, "
        f"all nodes together {spent / count * 1e6:.0f} us a document"
    )


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
    before = reading(cluster.pids)
    for number in numbers:
        at = time.perf_counter()
        path = f"/api/v1/collections/{collection}/documents/{number:07}"
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        json.loads(answer.read())
        result.latencies.append((time.perf_counter() - at) * 1000)
        result.operations += answer.status == 200
        result.failures += answer.status != 200
    conclude(result, before, reading(cluster.pids))
    connection.close()
    return result


def returned(client: Client, name: str, asked: int) -> str:
    """Say how many documents are hot again; what is only read comes back if there is room."""
    began = time.perf_counter()
    found = held(client, name)["ssd"]
    while found < asked and time.perf_counter() - began < RETURN_S:
        time.sleep(0.01)
        found = held(client, name)["ssd"]
    took = time.perf_counter() - began
    return f"{found} of the {asked} that were asked for are hot again, {took:.2f} s later"


def measure(cluster: LocalCluster, tiers: list[Tier], options: argparse.Namespace) -> None:
    """Measure one cluster and print its rows."""
    count = options.documents
    firsts = range(SEGMENT // 2, count, SEGMENT)
    tell(f"n={len(cluster.members)}")

    def ask(name: str, method: str, collection: str, shift: int) -> None:
        numbers = [number + shift for number in firsts]
        tell("  " + one_by_one(cluster, method, collection, numbers).line(name))

    fill(cluster, HOT, rows(count, options.size))
    with Client(cluster.urls, cluster.api_key) as client:
        ask("GET, hot", "GET", HOT, 0)
        ask("update, hot", "PATCH", HOT, 2)
        for tier in tiers:
            name = tier.collection
            fill(cluster, name, rows(count, options.size))
            tell("  " + move(cluster, client, tier, count))
            ask(f"GET, {name}, to be fetched", "GET", name, 0)
            ask(f"GET, {name}, segment in memory", "GET", name, 1)
            ask(f"update, {name}, in memory", "PATCH", name, 2)
            tell("  " + returned(client, name, 3 * len(firsts)))


@contextmanager
def store(directory: Path) -> Iterator[ArchiveSpec]:
    """Start an object store, that of the tests; say how nodes reach it."""
    from tests.s3_server import S3Server  # noqa: PLC0415 - a development dependency

    directory.mkdir()
    server = S3Server(directory)
    credentials = directory / "credentials.json"
    credentials.touch(0o600)
    credentials.write_text(json.dumps({"access_key_id": "any", "secret_access_key": "any"}))
    server.start(BUCKET)
    try:
        yield ArchiveSpec(server.url, BUCKET, credentials_file=str(credentials))
    finally:
        server.stop()


def parse(given: list[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cold", description=__doc__)
    parser.add_argument("--nodes", type=sizes, default=[1, 4], help="one or several, as 1,4,7")
    parser.add_argument("--documents", type=int, default=100 * SEGMENT)
    parser.add_argument("--size", type=int, default=1024, help="bytes of a document")
    parser.add_argument("--encrypt", choices=ALGORITHMS, help="at rest; an archive needs one")
    parser.add_argument("--archive", action="store_true", help="the tier behind it too, over S3")
    options = parser.parse_args(given)
    if options.documents < 4 * SEGMENT or options.size < 128:
        parser.error(f"at least {4 * SEGMENT} documents of 128 bytes")
    return options


def main() -> int:
    """Measure and print."""
    options = parse(sys.argv[1:])
    tell(f"load average {os.getloadavg()[0]:.1f}, {os.cpu_count()} processors")
    algorithm = options.encrypt or (ALGORITHMS[0] if options.archive else None)
    tiers = [COLD, ARCHIVED] if options.archive else [COLD]
    for nodes in options.nodes:
        with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
            home = Path(directory)
            archive = stack.enter_context(store(home / "s3")) if options.archive else None
            cluster = stack.enter_context(running(home / "nodes", nodes, algorithm, archive))
            measure(cluster, tiers, options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
