"""A worker killed after any step: another one completes the operation."""

import pytest

from dataplane.client.client import Client
from portal.clusters import services as domain
from portal.clusters.models import Cluster, OperationKind, OperationState
from portal.clusters.operations.plans import STEPS, UNDO
from portal.clusters.provisioners.process import driver
from portal.clusters.selectors import cluster_get
from portal.core.tenancy import tenant_context
from tests.portal.clusters.lives import finish
from tests.portal.clusters.workers import survive_every_death, sweep_until, worker

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]


def names(kind: OperationKind) -> list[str]:
    return [step.name for step in STEPS[kind]]


def test_every_operation_survives_a_worker_killed_after_each_of_its_steps(
    acme, alice, access_of, tidy_nodes, services, tmp_path
):
    access, log = access_of(alice), tmp_path / "worker.log"
    with tenant_context(acme.schema_name):
        cluster, operation = domain.cluster_create(
            access, name="Orders", plan="starter", region="local-1", nodes=3
        )
        survive_every_death(services, log, operation, names(OperationKind.CREATE))
        operation.refresh_from_db()
        assert operation.state == OperationState.SUCCEEDED
        cluster = cluster_get(cluster.pk)
        keys = {node.index: node.public_key for node in cluster.nodes.all()}
        assert len(set(keys.values())) == 3
        _, secret = domain.key_create(access, cluster, name="app")
        with Client([node.url for node in cluster.nodes.all()], secret) as client:
            client.put("notes", "first", {"text": "kept"})

        _, operation = domain.cluster_restart_node(access, cluster, node=1)
        survive_every_death(services, log, operation, names(OperationKind.RESTART_NODE))
        _, operation = domain.cluster_delete(access, cluster, confirm="Orders")
        survive_every_death(services, log, operation, names(OperationKind.DELETE))
        cluster = cluster_get(cluster.pk)
        _, operation = domain.cluster_restore(access, cluster)
        survive_every_death(services, log, operation, names(OperationKind.RESTORE_DELETED))
        cluster = cluster_get(cluster.pk)
        assert {node.index: node.public_key for node in cluster.nodes.all()} == keys
        with worker(services, log):
            with Client([node.url for node in cluster.nodes.all()], secret) as client:
                assert client.get("notes", "first")["text"] == "kept"
            _, operation = domain.cluster_delete(access, cluster, confirm="Orders")
            sweep_until(lambda: Cluster.objects.get(pk=cluster.pk).status == "deleted")
            sweep_until(lambda: type(operation).objects.get(pk=operation.pk).is_final)
        cluster = cluster_get(cluster.pk)
        _, operation = domain.cluster_delete(access, cluster, confirm="Orders", now_for_good=True)
        survive_every_death(services, log, operation, names(OperationKind.PURGE))
        assert Cluster.objects.get(pk=cluster.pk).purged_at is not None
        assert driver().observe(str(cluster.pk)) == {}


def test_a_cancelled_creation_cleans_up_although_workers_die(
    acme, alice, access_of, tidy_nodes, services, tmp_path
):
    access, log = access_of(alice), tmp_path / "worker.log"
    with tenant_context(acme.schema_name):
        cluster, operation = domain.cluster_create(
            access, name="Orders", plan="starter", region="local-1", nodes=3
        )
        with worker(services, log, die_after="start") as process:
            sweep_until(lambda: process.poll() is not None)
        assert len(driver().observe(str(cluster.pk))) == 3
        domain.operation_cancel(access, operation)
        steps = [step.name for step in UNDO[OperationKind.CREATE]]
        survive_every_death(services, log, operation, steps)
        operation.refresh_from_db()
        assert operation.state == OperationState.CANCELLED
        assert driver().observe(str(cluster.pk)) == {}
        # The name is free again.
        domain.cluster_create(access, name="Orders", plan="starter", region="local-1", nodes=3)


@pytest.mark.parametrize("kind", [OperationKind.SCALE, OperationKind.REPLACE_NODE])
def test_a_change_of_members_survives_a_worker_killed_after_each_of_its_steps(
    acme, alice, access_of, tidy_nodes, services, tmp_path, kind
):
    access, log = access_of(alice), tmp_path / "worker.log"
    with tenant_context(acme.schema_name):
        cluster, secret = three_nodes(access)
        if kind == OperationKind.SCALE:
            _, operation = domain.cluster_scale(access, cluster, nodes=4)
        else:
            _, operation = domain.cluster_replace_node(access, cluster, node=1)
        survive_every_death(services, log, operation, names(kind))
        operation.refresh_from_db()
        assert operation.state == OperationState.SUCCEEDED
        cluster = cluster_get(cluster.pk)
        wanted = [0, 1, 2, 3] if kind == OperationKind.SCALE else [0, 2, 3]
        assert (cluster.epoch, [node.index for node in cluster.members]) == (1, wanted)
        assert sorted(driver().observe(str(cluster.pk))) == wanted
        with Client([node.url for node in cluster.members], secret) as client:
            assert client.get("notes", "first")["text"] == "kept"
            assert client.nodes()["epoch"] == 1


def test_a_cancelled_change_of_members_cleans_up_although_workers_die(
    acme, alice, access_of, tidy_nodes, services, tmp_path
):
    access, log = access_of(alice), tmp_path / "worker.log"
    with tenant_context(acme.schema_name):
        cluster, secret = three_nodes(access)
        _, operation = domain.cluster_scale(access, cluster, nodes=7)
        with worker(services, log, die_after="start") as process:
            sweep_until(lambda: process.poll() is not None)
        assert len(driver().observe(str(cluster.pk))) == 7
        domain.operation_cancel(access, operation)
        steps = [step.name for step in UNDO[OperationKind.SCALE]]
        survive_every_death(services, log, operation, steps)
        cluster = cluster_get(cluster.pk)
        assert (cluster.epoch, cluster.size, cluster.desired_nodes) == (0, 3, 3)
        assert sorted(driver().observe(str(cluster.pk))) == [0, 1, 2]
        with Client([node.url for node in cluster.members], secret) as client:
            assert client.put("notes", "second", {"text": "on"})["_version"] == 1


def three_nodes(access) -> tuple[Cluster, str]:
    """Make a cluster with one document, in this process."""
    cluster, operation = domain.cluster_create(
        access, name="Orders", plan="starter", region="local-1", nodes=3
    )
    finish(operation)
    cluster = cluster_get(cluster.pk)
    _, secret = domain.key_create(access, cluster, name="app")
    with Client([node.url for node in cluster.members], secret) as client:
        client.put("notes", "first", {"text": "kept"})
    return cluster, secret
