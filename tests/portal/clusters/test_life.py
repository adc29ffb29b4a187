"""A cluster's whole life on real node processes."""

import os
import subprocess
import sys
import time
from pathlib import Path

import grpc
import pytest

from dataplane.client.client import Client
from dataplane.client.errors import ApiError
from dataplane.gateways.rpc.pb import aerolith_pb2 as pb
from dataplane.gateways.rpc.pb import aerolith_pb2_grpc as stubs
from portal.audit.models import AuditEvent
from portal.clusters import services
from portal.clusters.connections import authority_certificate, grpc_addresses
from portal.clusters.models import Cluster
from portal.clusters.operations.observation import cluster_observe
from portal.clusters.provisioners.process import driver
from portal.clusters.selectors import cluster_get
from portal.clusters.snippets import Snippet, snippets
from portal.core.errors import NotFound
from portal.core.tenancy import tenant_context
from tests.portal.clusters.lives import finish, processes

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]


def run_snippet(snippet: Snippet, secret: str, folder: Path) -> None:
    """Do what a reader does: paste the program, the key in its place."""
    program = ["bash", "-e"] if snippet.language == "curl" else [sys.executable, "-"]
    done = subprocess.run(
        program,
        input=snippet.code,
        cwd=folder,
        env={**os.environ, "AEROLITH_TOKEN": secret},
        text=True,
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("hello") == 3, done.stdout


def test_a_cluster_is_made_used_and_restarted(acme, alice, access_of, tidy_nodes, tmp_path):
    access = access_of(alice)
    with tenant_context(acme.schema_name):
        began = time.monotonic()
        cluster, operation = services.cluster_create(
            access, name="Orders", plan="starter", region="local-1", nodes=4
        )
        finish(operation)
        # The goal is 10 s from click to write on an idle machine; tests share theirs.
        assert time.monotonic() - began < 30
        cluster = cluster_get(cluster.pk)
        assert cluster.status == "running"
        key, secret = services.key_create(access, cluster, name="app")
        urls = [node.url for node in cluster.nodes.all()]
        with Client(urls, secret) as client:
            assert client.collections() == []
            # Nothing that provisioning did shows in what the customer gets.
            assert client.put("notes", "first", {"text": "hello"})["_version"] == 1
            assert client.stats()["calls"]["limit"] == 100_000
        assert cluster.observed["ready"] == 4
        assert {node.state for node in cluster.nodes.all()} == {"ready"}

        authority = authority_certificate(cluster)
        for node in cluster.nodes.all():
            credentials = grpc.ssl_channel_credentials(authority)
            with grpc.secure_channel(node.grpc_address, credentials) as channel:
                asked = pb.HealthRequest()
                assert stubs.ClusterServiceStub(channel).Health(asked, timeout=20).ready
        with grpc.insecure_channel(node.grpc_address) as channel, pytest.raises(grpc.RpcError):
            stubs.ClusterServiceStub(channel).Health(asked, timeout=20)

        # Those that need a client installed are run in tests/clients.
        (tmp_path / "ca.pem").write_bytes(authority)
        for snippet in snippets(urls, secret, grpc=grpc_addresses(cluster)):
            if snippet.language in {"curl", "python-plain", "grpc"}:
                run_snippet(snippet, secret, tmp_path)

        before = processes(cluster)
        finish(services.cluster_restart_node(access, cluster, node=2)[1])
        after = processes(cluster)
        assert after[2] != before[2]
        assert {i: after[i] for i in (0, 1, 3)} == {i: before[i] for i in (0, 1, 3)}

        services.key_revoke(access, cluster, key)
        for url in urls:
            with Client([url], secret) as client, pytest.raises(ApiError) as refused:
                client.get("notes", "first")
            assert refused.value.status == 401
        done = set(AuditEvent.objects.values_list("action", flat=True))
        assert {"cluster.created", "key.created", "key.revoked", "operation.succeeded"} <= done


def test_a_deleted_cluster_comes_back_with_its_data_until_it_is_purged(
    acme, alice, access_of, tidy_nodes
):
    access = access_of(alice)
    with tenant_context(acme.schema_name):
        cluster, operation = services.cluster_create(
            access, name="Orders", plan="free", region="local-1", nodes=1
        )
        finish(operation)
        cluster = cluster_get(cluster.pk)
        urls = [node.url for node in cluster.nodes.all()]
        _, secret = services.key_create(access, cluster, name="app")
        with Client(urls, secret) as client:
            client.put("notes", "first", {"text": "hello"})
        finish(services.cluster_delete(access, cluster, confirm="Orders")[1])
        cluster = cluster_get(cluster.pk)
        assert cluster.is_recoverable
        assert set(processes(cluster).values()) == {None}

        finish(services.cluster_restore(access, cluster)[1])
        cluster = cluster_get(cluster.pk)
        assert (cluster.status, cluster.deleted_at) == ("running", None)
        with Client(urls, secret) as client:
            assert client.get("notes", "first")["text"] == "hello"

        finish(services.cluster_delete(access, cluster, confirm="Orders")[1])
        cluster = cluster_get(cluster.pk)
        finish(services.cluster_delete(access, cluster, confirm="Orders", now_for_good=True)[1])
        assert driver().observe(str(cluster.pk)) == {}
        with pytest.raises(NotFound):
            cluster_get(cluster.pk)
        assert bytes(Cluster.objects.get(pk=cluster.pk).admin_key) == b""


def test_a_restart_that_would_lose_the_quorum_stops_and_can_be_cancelled(
    acme, alice, access_of, tidy_nodes
):
    access = access_of(alice)
    with tenant_context(acme.schema_name):
        cluster, operation = services.cluster_create(
            access, name="Orders", plan="starter", region="local-1", nodes=3
        )
        finish(operation)
        cluster = cluster_get(cluster.pk)
        driver().stop(str(cluster.pk), 0)
        before = processes(cluster)
        _, operation = services.cluster_restart_node(access, cluster, node=1)
        finish(operation, state="needs_operator")
        assert operation.error_code == "would_lose_quorum"
        assert processes(cluster) == before
        finish(services.operation_cancel(access, operation), state="cancelled")
        # What is seen decides the status, and a node that is not wanted down comes back.
        cluster_observe(cluster, driver())
        assert cluster_get(cluster.pk).status == "degraded"
