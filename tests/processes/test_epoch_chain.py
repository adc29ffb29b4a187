"""A reader who pinned the first members trusts the later ones through the chain of epochs."""

import httpx

from dataplane.client import Client
from tests.processes.conftest import wait_for, wait_ready
from tests.processes.test_membership import change, grow


def test_a_proof_of_a_later_epoch_verifies_against_the_first_members(make_cluster):
    cluster = make_cluster(3)
    pinned = cluster.anchor
    with Client(cluster.urls, cluster.api_key) as client:
        client.put("things", "one", {"n": 1})
    added = grow(cluster, 1)
    change(cluster, 0, 1, 2, *added)

    def has_chain(index: int) -> bool:
        headers = {"Authorization": f"Bearer {cluster.api_key}"}
        url = f"{cluster.nodes[index].url}/api/v1/members"
        return len(httpx.get(url, headers=headers, timeout=5).json()["changes"]) == 1

    for index in (0, 1, 2, 3):
        wait_for(lambda index=index: has_chain(index), f"node {index} has the chain")
    with Client(cluster.urls, cluster.api_key, anchor=pinned) as client:
        read = client.get("things", "one", proof=True)
        assert read["n"] == 1
    cluster.kill()
    cluster.start()
    wait_ready(cluster)
    wait_for(lambda: has_chain(0), "the chain outlives a crash of all")
