"""Clusters to be measured, and the rows that say what was."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dataplane.client.local import LocalCluster
from dataplane.client.spec import Algorithm, ArchiveSpec


def wait_ready(cluster: LocalCluster) -> None:
    """Wait until every node serves."""
    until = time.perf_counter() + 30
    while not all(cluster.is_ready(index) for index in range(len(cluster.members))):
        if time.perf_counter() > until:
            raise TimeoutError("the cluster is not ready within 30 s")
        time.sleep(0.1)


@contextmanager
def running(
    directory: Path,
    nodes: int,
    algorithm: Algorithm | None = None,
    archive: ArchiveSpec | None = None,
) -> Iterator[LocalCluster]:
    """Start a cluster, which encrypts with an algorithm if one is given; kill it in the end."""
    cluster = LocalCluster(directory, nodes, algorithm=algorithm, archive=archive)
    cluster.start()
    try:
        wait_ready(cluster)
        yield cluster
    finally:
        cluster.kill()


def tell(line: str) -> None:
    """Print a row at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
