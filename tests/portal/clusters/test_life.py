"""A cluster's whole life on real node processes."""

import time

import pytest

from dataplane.client.client import Client
from dataplane.client.errors import ApiError
from portal.audit.models import AuditEvent
from portal.clusters import services
from portal.clusters.models import Cluster, Operation
from portal.clusters.operations.engine import operation_advance
from portal.clusters.operations.observation import cluster_observe
from portal.clusters.provisioners.process import driver
from portal.clusters.selectors import cluster_get
from portal.core.tenancy import tenant_context
from portal.core.errors import NotFound

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]


def finish(operation: Operation, *, state: str = "succeeded", seconds: float = 90) -> Operation:
    deadline = time.monotonic() + seconds
    while operation_advance(operation.pk) and time.monotonic() < deadline:
        pass
    operation.refresh_from_db()
    steps = [(s.name, s.status, s.waiting_for, s.error) for s in operation.steps.all()]
    assert operation.state == state, steps
    return operation


def test_a_cluster_is_made_used_restarted_deleted_restored_and_purged(
    acme, alice, access_of, tidy_nodes
):
    access = access_of(alice)
    with tenant_context(acme.schema_name):
        began = time.monotonic()
        cluster, operation = services.cluster_create(
            access, name="Orders", plan="starter", region="local-1", nodes=4
        )
        finish(operation)
        assert time.monotonic() - began < 20
        cluster = cluster_get(cluster.pk)
        assert cluster.status == "running"
        key, secret = services.key_create(access, cluster, name="app")
        urls = [node.url for node in cluster.nodes.all()]
        with Client(urls, secret) as client:
            client.put("notes", "first", {"text": "hello"})
            stats = client.stats()
        assert stats["calls"]["limit"] == 100_000
        cluster_observe(cluster, driver())
        cluster = cluster_get(cluster.pk)
        assert cluster.observed["ready"] == 4
        assert {node.state for node in cluster.nodes.all()} == {"ready"}

        pids = {i: p.pid for i, p in driver().observe(str(cluster.pk)).items()}
        _, operation = services.cluster_restart_node(access, cluster, node=2)
        finish(operation)
        after = {i: p.pid for i, p in driver().observe(str(cluster.pk)).items()}
        assert after[2] != pids[2]
        assert {i: after[i] for i in (0, 1, 3)} == {i: pids[i] for i in (0, 1, 3)}

        services.key_revoke(access, cluster, key)
        for url in urls:
            with Client([url], secret) as client, pytest.raises(ApiError) as refused:
                client.get("notes", "first")
            assert refused.value.status == 401

        _, operation = services.cluster_delete(access, cluster, confirm="Orders")
        finish(operation)
        cluster = cluster_get(cluster.pk)
        assert cluster.is_recoverable
        assert all(p.pid is None for p in driver().observe(str(cluster.pk)).values())

        _, operation = services.cluster_restore(access, cluster)
        finish(operation)
        cluster = cluster_get(cluster.pk)
        assert cluster.status == "running"
        assert cluster.deleted_at is None
        _, secret = services.key_create(access, cluster, name="again")
        with Client(urls, secret) as client:
            assert client.get("notes", "first")["text"] == "hello"

        finish(services.cluster_delete(access, cluster, confirm="Orders")[1])
        cluster = cluster_get(cluster.pk)
        finish(services.cluster_delete(access, cluster, confirm="Orders", now_for_good=True)[1])
        assert driver().observe(str(cluster.pk)) == {}
        with pytest.raises(NotFound):
            cluster_get(cluster.pk)
        assert bytes(Cluster.objects.get(pk=cluster.pk).admin_key) == b""
        done = set(AuditEvent.objects.values_list("action", flat=True))
        assert {"cluster.created", "key.created", "key.revoked", "operation.succeeded"} <= done
