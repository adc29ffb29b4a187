"""The members of a running cluster change, under load."""

import httpx

from dataplane.client import Client
from dataplane.consensus.config import Limits
from tests.processes.conftest import wait_for, wait_ready
from tests.processes.test_durability import Writers, check_acknowledged

RETENTION = Limits().retained_batches_max


def status_of(cluster, index: int) -> dict:
    headers = {"Authorization": f"Bearer {cluster.api_key}"}
    url = f"{cluster.nodes[index].url}/api/v1/nodes/status"
    try:
        return httpx.get(url, headers=headers, timeout=5).json()
    except httpx.TransportError:
        return {}


def grow(cluster, count: int) -> list[int]:
    """Start learners and wait until they have caught up."""
    added = [cluster.add_learner() for _ in range(count)]
    for index in added:
        wait_for(lambda index=index: has_caught_up(cluster, index), f"node {index} learned all")
    return added


def has_caught_up(cluster, index: int) -> bool:
    learner, member = status_of(cluster, index), status_of(cluster, cluster.members[0].id)
    return bool(learner) and learner["sequence"] >= member["sequence"] - 64


def change(cluster, *ids: int) -> None:
    cluster.reconfigure(*ids)
    wait_ready(cluster, *ids)
    for index in ids:
        wait_for(
            lambda index=index: status_of(cluster, index)["epoch"] == cluster.epoch,
            f"node {index} is in epoch {cluster.epoch}",
        )


def test_a_cluster_grows_and_shrinks_under_load(make_cluster):
    cluster = make_cluster(1)
    writers = Writers(cluster, 2)
    wait_for(lambda: writers.count >= 20, "20 acknowledged writes")
    members = [0]
    for size in (3, 4, 6, 7, 4):
        if size > len(members):
            members += grow(cluster, size - len(members))
        else:
            members = members[:size]
        before = writers.count
        change(cluster, *members)
        wait_for(lambda before=before: writers.count >= before + 20, f"writes with {size} members")
    writers.stop()
    check_acknowledged(cluster, writers)
    headers = {"Authorization": f"Bearer {cluster.api_key}"}
    for member in cluster.members:
        body = httpx.get(f"{member.url}/api/v1/members", headers=headers).json()
        assert [m["id"] for m in body["members"]] == members
    url = f"{cluster.nodes[6].url}/api/v1/collections/load/documents/x"
    refused = httpx.put(url, json={}, headers=headers, timeout=20)
    assert refused.status_code == 503, "a removed node serves nobody"


def test_a_dead_node_is_replaced_by_a_new_one(make_cluster):
    cluster = make_cluster(4)
    with Client(cluster.urls, cluster.api_key) as client:
        client.put("things", "one", {"n": 1})
    cluster.kill(0)
    wait_for(lambda: status_of(cluster, 1)["view"] >= 1, "another primary")
    added = grow_beside(cluster)
    change(cluster, 1, 2, 3, added)
    with Client(cluster.urls, cluster.api_key) as client:
        client.put("things", "one", {"n": 2})
    cluster.kill(1)
    with Client([cluster.nodes[added].url], cluster.api_key, follow=False) as client:
        client.put("things", "two", {"n": 3})
        assert client.get("things", "one")["n"] == 2


def grow_beside(cluster) -> int:
    added = cluster.add_learner()
    wait_for(
        lambda: status_of(cluster, added).get("sequence", 0) >= status_of(cluster, 1)["sequence"],
        "the new node learned all",
    )
    return added


def test_an_order_nobody_signed_is_refused(make_cluster):
    cluster = make_cluster(1)
    headers = {"Authorization": f"Bearer {cluster.api_key}"}
    url = f"{cluster.urls[0]}/api/v1/members"
    refused = httpx.put(url, json={"order": "AAAA", "sig": "AAAA"}, headers=headers)
    assert refused.status_code == 403
    assert refused.json()["code"] == "forbidden"


def test_all_nodes_killed_around_a_change_come_back_in_one_epoch(make_cluster):
    cluster = make_cluster(3)
    writers = Writers(cluster, 2)
    wait_for(lambda: writers.count >= 20, "20 acknowledged writes")
    added = grow(cluster, 1)
    cluster.reconfigure(0, 1, 2, *added)
    cluster.kill()
    writers.stop()
    cluster.start()
    wait_ready(cluster)
    assert {status_of(cluster, index)["epoch"] for index in (0, 1, 2, 3)} == {1}
    check_acknowledged(cluster, writers)


def test_a_member_that_slept_through_a_change_and_what_others_keep_comes_back(make_cluster):
    cluster = make_cluster(4)
    with Client(cluster.urls, cluster.api_key) as client:
        client.put("things", "one", {"n": 1})
    cluster.kill(3)
    added = grow(cluster, 1)
    cluster.reconfigure(0, 1, 2, 3, *added)
    wait_for(lambda: status_of(cluster, 0)["epoch"] == 1, "the next epoch")
    with Client(cluster.urls[:3], cluster.api_key) as client:
        for turn in range(RETENTION + 200):
            client.put("things", "two", {"n": turn})
        newest = status_of(cluster, 0)["sequence"]
    assert newest > RETENTION + 200
    cluster.start(3)
    wait_for(lambda: status_of(cluster, 3).get("sequence", 0) >= newest, "it came back", 60)
    assert status_of(cluster, 3)["epoch"] == 1
    assert status_of(cluster, 3)["is_member"]
    assert "epoch_passed_over" in cluster.log(3)
    # It is one of those without whom nothing is decided any more.
    cluster.kill(1)
    wait_ready(cluster, 0, 2, 3)
    with Client([cluster.nodes[3].url], cluster.api_key) as client:
        client.put("things", "three", {"n": 1})
        assert client.get("things", "two")["n"] == RETENTION + 199
