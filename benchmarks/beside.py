"""A client that writes a document now and then, to see what it feels of other work."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from benchmarks.load import Result
from dataplane.client import Client
from dataplane.client.local import LocalCluster

PAUSE_S: Final = 0.02
DOCUMENTS: Final = 100


@contextmanager
def writing(cluster: LocalCluster, name: str) -> Iterator[list[float]]:
    """Write one document after the other, with pauses; the list has the milliseconds of each."""
    took: list[float] = []
    is_over = threading.Event()

    def write() -> None:
        with Client(cluster.urls, cluster.api_key) as client:
            while not is_over.wait(PAUSE_S):
                began = time.perf_counter()
                client.put(name, f"{len(took) % DOCUMENTS}", {"n": len(took)})
                took.append((time.perf_counter() - began) * 1000)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield took
    finally:
        is_over.set()
        writer.join()


def words(took: list[float]) -> str:
    """Say how long writes took."""
    if not took:
        return "no writes"
    parts = [Result(latencies=took).percentile(share) for share in (0.5, 0.95, 0.99)]
    return (
        f"{len(took)} writes p50 {parts[0]:.1f}  p95 {parts[1]:.1f}  p99 {parts[2]:.1f}"
        f"  longest {max(took):.1f} ms"
    )
