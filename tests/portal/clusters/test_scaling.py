"""Clusters change their nodes while they are written to."""

import os
import signal

import pytest

from dataplane.client.client import Client
from portal.clusters import services
from portal.clusters.connections import trust_anchor
from portal.clusters.errors import UnableToCancel
from portal.clusters.models import Cluster, Membership, Node
from portal.clusters.operations import changing
from portal.clusters.operations.specs import blueprint_of
from portal.clusters.provisioners.process import driver
from portal.clusters.selectors import cluster_get
from portal.core.tenancy import public_context, tenant_context
from portal.plans.models import Plan
from portal.plans.selectors import catalogue_forget
from tests.portal.clusters.lives import Writer, finish, processes, until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]


@pytest.fixture
def made(acme, alice, access_of, tidy_nodes):
    """Return a function that makes a running cluster, with a key and its access."""
    access = access_of(alice)
    with public_context():
        # No plan of the price list spans one and three nodes; an operator may offer one that does.
        Plan.objects.filter(code="starter").update(node_counts=[1, 3, 4])
    catalogue_forget()

    def make(nodes: int) -> tuple[Cluster, str]:
        cluster, operation = services.cluster_create(
            access, name="Orders", plan="starter", region="local-1", nodes=nodes
        )
        finish(operation)
        cluster = cluster_get(cluster.pk)
        return cluster, services.key_create(access, cluster, name="app")[1]

    with tenant_context(acme.schema_name):
        yield access, make
    catalogue_forget()


def urls_of(cluster: Cluster) -> list[str]:
    return [node.url for node in cluster.members]


def ids_of(cluster: Cluster) -> list[int]:
    return [node.index for node in cluster.members]


def check_members(cluster: Cluster, secret: str, ids: list[int], epoch: int) -> None:
    """What the portal says, what runs and what each node says is the same."""
    assert ids_of(cluster) == ids
    assert (cluster.epoch, cluster.desired_nodes, cluster.status) == (epoch, len(ids), "running")
    assert set(processes(cluster)) == set(ids)
    for url in urls_of(cluster):
        with Client([url], secret) as client:
            status = client.nodes()
        assert (status["epoch"], status["is_member"]) == (epoch, True)
        assert [node["id"] for node in status["nodes"]] == ids
    anchor = trust_anchor(cluster)
    assert anchor is not None
    assert (anchor.epoch, [v.id for v in anchor.validators]) == (epoch, ids)


def test_one_node_becomes_three_under_load(made):
    access, make = made
    cluster, secret = make(1)
    with Client(urls_of(cluster), secret) as client:
        client.put("notes", "first", {"text": "kept"})
    with Writer(urls_of(cluster), secret) as writer:
        _, operation = services.cluster_scale(access, cluster, nodes=3)
        finish(operation)
    assert (writer.failure, writer.retries_max <= 1) == ("", True), writer.retries_max
    cluster = cluster_get(cluster.pk)
    check_members(cluster, secret, [0, 1, 2], 1)
    os.kill(processes(cluster)[0], signal.SIGKILL)
    with Client(urls_of(cluster)[1:], secret) as client:
        assert client.get("notes", "first")["text"] == "kept"
        anchored = Client(urls_of(cluster)[1:], secret, anchor=trust_anchor(cluster))
        with anchored as reader:
            assert reader.get("notes", "first", proof=True)["text"] == "kept"


def test_four_nodes_shrink_to_three_under_load_and_the_primary_stays(made):
    access, make = made
    cluster, secret = make(4)
    with Writer(urls_of(cluster), secret) as writer:
        _, operation = services.cluster_scale(access, cluster, nodes=3)
        finish(operation)
    assert (writer.failure, writer.retries_max <= 1) == ("", True), writer.retries_max
    cluster = cluster_get(cluster.pk)
    check_members(cluster, secret, [0, 1, 2], 1)
    gone = Node.objects.get(cluster=cluster, index=3)
    assert (gone.membership, bytes(gone.material)) == (Membership.REMOVED, b"")
    assert driver().logs(str(cluster.pk), 3, lines=5) == []
    assert operation.cost_delta < 0


def test_three_nodes_become_four_under_load_and_survive_deletion_and_restoration(made):
    access, make = made
    cluster, secret = make(3)
    with Writer(urls_of(cluster), secret) as writer:
        _, operation = services.cluster_scale(access, cluster, nodes=4)
        finish(operation)
        with pytest.raises(UnableToCancel):
            services.operation_cancel(access, operation)
    assert (writer.failure, writer.retries_max <= 1) == ("", True), writer.retries_max
    cluster = cluster_get(cluster.pk)
    check_members(cluster, secret, [0, 1, 2, 3], 1)
    finish(services.cluster_delete(access, cluster, confirm="Orders")[1])
    finish(services.cluster_restore(access, cluster_get(cluster.pk))[1])
    check_members(cluster_get(cluster.pk), secret, [0, 1, 2, 3], 1)


def test_a_killed_node_is_replaced_under_load(made):
    access, make = made
    cluster, secret = make(4)
    driver().stop(str(cluster.pk), 0)
    until(lambda: processes(cluster)[0] is None)
    with Writer(urls_of(cluster)[1:], secret) as writer:
        _, operation = services.cluster_replace_node(access, cluster, node=0)
        finish(operation)
    assert (writer.failure, writer.retries_max <= 1) == ("", True), writer.retries_max
    cluster = cluster_get(cluster.pk)
    check_members(cluster, secret, [1, 2, 3, 4], 1)
    assert operation.cost_delta == 0


def test_a_cancelled_change_leaves_nothing_behind(made, monkeypatch):
    access, make = made
    cluster, secret = make(1)
    _, operation = services.cluster_scale(access, cluster, nodes=3)
    from portal.clusters.operations import engine

    turn = engine._turn

    def one_step(*arguments):
        outcome = turn(*arguments)
        return outcome if outcome in {"over", "waiting"} else "later"

    monkeypatch.setattr(engine, "_turn", one_step)
    for _ in range(200):
        engine.operation_advance(operation.pk)
        if operation.steps.filter(name="start", status="succeeded").exists():
            break
    services.operation_cancel(access, operation)
    monkeypatch.undo()
    finish(operation, state="cancelled")
    cluster = cluster_get(cluster.pk)
    check_members(cluster, secret, [0], 0)
    # Ids are never used again, also those of nodes that never became members.
    finish(services.cluster_scale(access, cluster, nodes=3)[1])
    check_members(cluster_get(cluster.pk), secret, [0, 3, 4], 1)


def test_what_a_node_is_told_stays_the_same_for_ever(made):
    access, make = made
    cluster, _ = make(1)
    before = blueprint_of(cluster, cluster.members[0])
    assert before.genesis.admin_public_key
    assert [member.id for member in before.genesis.members] == [0]
    finish(services.cluster_scale(access, cluster, nodes=3)[1])
    cluster = cluster_get(cluster.pk)
    first, _, added = (blueprint_of(cluster, node) for node in cluster.members)
    assert first == before
    assert added.genesis == before.genesis
    assert added.learner is not None
    assert (added.learner.id, added.epoch, added.base) == (2, 0, 0)
    assert [member.id for member in added.members] == [0]


def test_an_answer_that_was_lost_is_asked_for_again(made, monkeypatch):
    access, make = made
    cluster, secret = make(1)
    with Client(urls_of(cluster), secret) as client:
        client.put("notes", "first", {"text": "kept"})
    turn_over, lost = changing._turn_over, []

    def lose_once(operation, found, ends_at):
        lost.append(ends_at)
        if len(lost) == 1:
            raise ConnectionError
        turn_over(operation, found, ends_at)

    monkeypatch.setattr(changing, "_turn_over", lose_once)
    finish(services.cluster_replace_node(access, cluster, node=0)[1])
    assert len(lost) >= 2
    assert len(set(lost)) == 1
    cluster = cluster_get(cluster.pk)
    check_members(cluster, secret, [1], 1)
    with Client(urls_of(cluster), secret) as client:
        assert client.get("notes", "first")["text"] == "kept"


def test_members_change_again_and_again(made):
    access, make = made
    cluster, secret = make(1)
    with Writer(urls_of(cluster), secret) as writer:
        finish(services.cluster_scale(access, cluster, nodes=3)[1])
        finish(services.cluster_scale(access, cluster_get(cluster.pk), nodes=4)[1])
        finish(services.cluster_replace_node(access, cluster_get(cluster.pk), node=2)[1])
        finish(services.cluster_scale(access, cluster_get(cluster.pk), nodes=3)[1])
    assert (writer.failure, writer.retries_max <= 1) == ("", True), writer.retries_max
    check_members(cluster_get(cluster.pk), secret, [0, 1, 3], 4)


def test_members_change_again_in_a_cluster_that_nobody_uses(made):
    access, make = made
    cluster, secret = make(1)
    with Client(urls_of(cluster), secret) as client:
        client.put("notes", "first", {"text": "kept"})
    finish(services.cluster_scale(access, cluster, nodes=3)[1])
    used = Client(urls_of(cluster), secret).stats()["calls"]["used"]
    cluster = cluster_get(cluster.pk)
    finish(services.cluster_replace_node(access, cluster, node=0)[1], seconds=400)
    cluster = cluster_get(cluster.pk)
    check_members(cluster, secret, [1, 2, 3], 2)
    with Client(urls_of(cluster)[2:], secret) as client:
        assert client.get("notes", "first")["text"] == "kept"
        assert client.stats()["calls"]["used"] <= used + 8


def cold_count(client: Client) -> int:
    (notes,) = client.collections()
    return notes["tiers"]["distributed"]["documents"]


def test_the_only_node_is_replaced_and_its_cold_documents_are_with_the_next(made):
    access, make = made
    cluster, secret = make(1)
    texts = {f"d{n}": f"{n}" * 200 for n in range(6)}
    with Client(urls_of(cluster), secret) as client:
        client.collection_put("notes", {"tiering": {"cold_after_s": 1}})
        for name, text in texts.items():
            client.put("notes", name, {"text": text})
        until(lambda: cold_count(client) == len(texts))
    _, operation = services.cluster_replace_node(access, cluster, node=0)
    finish(operation)
    cluster = cluster_get(cluster.pk)
    check_members(cluster, secret, [1], 1)
    with Client(urls_of(cluster), secret) as client:
        found = {document["_id"]: document["text"] for document in client.iterate("notes")}
        assert found == texts
