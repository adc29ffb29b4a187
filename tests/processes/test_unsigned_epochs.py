"""An epoch ended that no quorum can sign: who slept is led out of it by the word of f+1 members."""

import httpx
import pytest

from dataplane.client import Client
from dataplane.client.local import LocalCluster
from tests.processes.conftest import wait_for, wait_ready
from tests.processes.test_membership import status_of
from tests.processes.unwilling_node import SMALL

UNWILLING, SLEEPER = 3, 2


class UnwillingCluster(LocalCluster):
    """Four nodes with small limits, one of which signs no change of members."""

    def _program(self, index: int) -> list[str]:
        program = ["-m", "tests.processes.unwilling_node"]
        return [*program, "--unwilling"] if index == UNWILLING else program


@pytest.fixture
def cluster(tmp_path):
    made = UnwillingCluster(tmp_path / "cluster", 4)
    made.start()
    try:
        wait_ready(made)
        yield made
    finally:
        made.kill()


def proven_changes(cluster: LocalCluster, index: int) -> int:
    headers = {"Authorization": f"Bearer {cluster.api_key}"}
    url = f"{cluster.nodes[index].url}/api/v1/members"
    return len(httpx.get(url, headers=headers, timeout=5).json()["changes"])


def test_a_sleeper_is_led_out_of_an_epoch_that_no_quorum_signed(cluster):
    pinned = cluster.anchor
    with Client(cluster.urls, cluster.api_key) as client:
        client.put("things", "one", {"n": 1})
    cluster.kill(SLEEPER)
    cluster.reconfigure(0, 1, SLEEPER)
    wait_for(
        lambda: status_of(cluster, 0)["epoch"] == status_of(cluster, 1)["epoch"] == 1, "it ends"
    )
    turns = SMALL["window"] + 2 * SMALL["retained_batches_max"]
    with Client(cluster.urls[:2], cluster.api_key) as client:
        for turn in range(turns):
            client.put("things", "two", {"n": turn})
    newest = status_of(cluster, 0)["sequence"]
    assert [proven_changes(cluster, index) for index in (0, 1)] == [0, 0], "two of four signed"
    cluster.start(SLEEPER)
    wait_for(lambda: status_of(cluster, SLEEPER).get("sequence", 0) >= newest, "it came back")
    assert status_of(cluster, SLEEPER)["epoch"] == 1
    assert "epoch_passed_over" in cluster.log(SLEEPER)
    # Its own signature is the third: from here on readers can follow, too.
    wait_for(lambda: proven_changes(cluster, 0) == 1, "the change is proven")
    with Client(cluster.urls, cluster.api_key, anchor=pinned) as client:
        assert client.get("things", "two", proof=True)["n"] == turns - 1
    cluster.kill(1)
    wait_ready(cluster, 0, SLEEPER)
    with Client([cluster.nodes[SLEEPER].url], cluster.api_key, follow=False) as client:
        client.put("things", "three", {"n": 1})
