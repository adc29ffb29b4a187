"""A client goes along when the members change, until none of those it was made with is left."""

import httpx

from dataplane.client import ApiError, Client, ClusterUnreachableError, Outbox
from dataplane.client.keys import new_api_key
from tests.processes.conftest import wait_for
from tests.processes.test_membership import change, grow

CHECKPOINT = 128
SCOPES = ["documents:read", "documents:write"]
"""Of a key as an application has it."""


def application_key(cluster) -> str:
    key = new_api_key()
    with Client(cluster.urls, cluster.api_key) as client:
        client.key_put(key.id, {"name": "application", "hash": key.hash, "scopes": SCOPES})
    return key.token


def wait_for_chain(cluster) -> None:
    """Wait until every member can prove to a reader of epoch 0 who the members are."""
    headers = {"Authorization": f"Bearer {cluster.api_key}"}
    for url in cluster.urls:
        wait_for(
            lambda url=url: (
                len(httpx.get(f"{url}/api/v1/members", headers=headers).json()["changes"])
                == cluster.epoch
            ),
            f"{url} has the chain",
        )


def clients_of(cluster) -> list[Client]:
    """Return a client that trusts the first members' keys, and one that counts votes."""
    key = application_key(cluster)
    return [
        Client(cluster.urls, key, timeout_s=5, anchor=anchor) for anchor in (cluster.anchor, None)
    ]


def knows(client: Client, cluster) -> bool:
    """Use the client; say whether it knows the members by now."""
    try:
        client.get("things", "x")
    except (ApiError, ClusterUnreachableError):
        return False
    return client._nodes.members == tuple(cluster.urls)


def use(client: Client, path) -> None:
    """Write and read through the client, and through an outbox."""
    written = client.put("things", "x", {"step": str(path)})
    assert client.get("things", "x") == written
    with Outbox(path) as outbox:
        outbox.update("things", "x", {"$set": {"queued": True}})
        assert outbox.flush(client).done == 1
    assert client.get("things", "x")["queued"]


def test_clients_work_on_while_every_first_member_is_replaced(make_cluster, tmp_path):
    cluster = make_cluster(4)
    clients = clients_of(cluster)
    for step, gone in enumerate([(0, 1), (2, 3)]):
        for number, client in enumerate(clients):
            use(client, tmp_path / f"{step}-{number}.sqlite")
        # Who learns in a later epoch needs a checkpoint of it.
        for _ in range(CHECKPOINT):
            clients[0].put("things", "x", {})
        kept = [member.id for member in cluster.members if member.id not in gone]
        change(cluster, *kept, *grow(cluster, 2))
        wait_for_chain(cluster)
        cluster.kill(*gone)
        for client in clients:
            wait_for(lambda client=client: knows(client, cluster), "a client knows the members")
    assert [member.id for member in cluster.members] == [4, 5, 6, 7]
    for number, client in enumerate(clients):
        use(client, tmp_path / f"last-{number}.sqlite")
        client.close()


def test_clients_that_slept_through_it_ask_those_who_left(make_cluster, tmp_path):
    cluster = make_cluster(3)
    clients = clients_of(cluster)
    clients[0].put("things", "x", {})
    change(cluster, *grow(cluster, 3))
    wait_for_chain(cluster)
    for client in clients:
        wait_for(lambda client=client: knows(client, cluster), "a client knows the members")
    cluster.kill(0, 1, 2)
    for number, client in enumerate(clients):
        use(client, tmp_path / f"{number}.sqlite")
        client.close()
