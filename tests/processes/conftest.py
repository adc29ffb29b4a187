"""Clusters of real node processes."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dataplane.client.local import LocalCluster

DEADLINE_S = 30.0


def wait_for(
    condition: Callable[[], bool], what: str | Callable[[], str], deadline_s: float = DEADLINE_S
) -> None:
    """Wait until something holds; fail with its name after the deadline."""
    until = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > until:
            pytest.fail(f"not within {deadline_s} s: {what if isinstance(what, str) else what()}")
        time.sleep(0.05)


def wait_ready(cluster: LocalCluster, *indexes: int) -> None:
    """Wait until the nodes say they can serve."""
    for index in indexes or range(len(cluster.members)):
        wait_for(
            lambda index=index: cluster.is_ready(index),
            lambda index=index: f"node {index} ready; its log ends {cluster.log(index)[-2000:]}",
        )


@pytest.fixture
def make_cluster(tmp_path: Path):
    made: list[LocalCluster] = []

    def make(count: int, **options: object) -> LocalCluster:
        cluster = LocalCluster(tmp_path / f"cluster-{len(made)}", count, **options)
        made.append(cluster)
        cluster.start()
        wait_ready(cluster)
        return cluster

    yield make
    for cluster in made:
        cluster.kill()
