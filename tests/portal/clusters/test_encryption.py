"""Clusters whose nodes encrypt: made so, turned so, their keys changed, and erased."""

from pathlib import Path

import msgspec
import pytest
from django.test import Client as Browser

from dataplane.client.client import Client
from dataplane.client.errors import KeyProviderError
from dataplane.client.key_providers import cluster_key_read
from dataplane.client.spec import load_spec
from dataplane.client.tombstones import tombstone_of, verify_tombstone
from portal.clusters import services
from portal.clusters.connections import admin_key
from portal.clusters.errors import UnableToChangeCluster
from portal.clusters.keeping import provider_spec
from portal.clusters.models import Cluster
from portal.clusters.operations import encrypting
from portal.clusters.provisioners.process import driver
from portal.clusters.selectors import anchor_get, cluster_get
from portal.core.errors import Invalid
from portal.core.tenancy import tenant_context
from tests.openbao import openbao
from tests.portal.clusters.lives import finish

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]


def made(access, **options) -> Cluster:
    cluster, operation = services.cluster_create(
        access, name="Orders", plan="free", region="local-1", nodes=1, **options
    )
    finish(operation)
    return cluster_get(cluster.pk)


def data_of(cluster: Cluster, home: Path) -> Path:
    return Path(load_spec(home / "clusters" / str(cluster.pk) / "node-0" / "spec.json").data_dir)


def holds(directory: Path, word: bytes) -> bool:
    return any(word in path.read_bytes() for path in directory.rglob("*") if path.is_file())


def write(cluster: Cluster) -> None:
    with Client([node.url for node in cluster.nodes.all()], admin_key(cluster)) as client:
        client.put("animals", "first", {"name": "pangolin"})


def read(cluster: Cluster) -> str:
    with Client([node.url for node in cluster.nodes.all()], admin_key(cluster)) as client:
        return client.get("animals", "first")["name"]


def test_a_cluster_encrypts_changes_its_keys_and_is_erased_with_a_certificate(
    acme, alice, access_of, tidy_nodes, client: Browser, settings
):
    access, home = access_of(alice), Path(settings.AEROLITH_HOME)
    with tenant_context(acme.schema_name):
        cluster = made(access)
        write(cluster)
        assert cluster.encryption == "aes-256-gcm"
        assert not holds(data_of(cluster, home), b"pangolin")
        rotation = services.cluster_rotate_keys(access, cluster, algorithm="xchacha20-poly1305")[1]
        finish(rotation)
        cluster = cluster_get(cluster.pk)
        assert cluster.encryption == "xchacha20-poly1305"
        assert read(cluster) == "pangolin"
        with pytest.raises(Invalid):
            services.cluster_rotate_keys(access, cluster, algorithm="rot13")
        with pytest.raises(UnableToChangeCluster):
            services.cluster_rotate_keys(access, cluster, algorithm="none")

        anchor = anchor_get(cluster)
        finish(services.cluster_delete(access, cluster, confirm="Orders")[1])
        cluster = cluster_get(cluster.pk)
        assert "destroyed_at" not in cluster.erasure
        Cluster.objects.filter(pk=cluster.pk).update(token_seed=b"sealed")
        wrapped, spec = bytes(cluster.wrapped_key), provider_spec(cluster)
        purge = services.cluster_delete(access, cluster, confirm="Orders", now_for_good=True)[1]
        finish(purge)
        gone = Cluster.objects.get(pk=cluster.pk)
        assert gone.erasure["destroyed_at"]
        assert bytes(gone.wrapped_key) == bytes(gone.token_seed) == b""
        kept = home / "kept.key"
        kept.write_bytes(wrapped)
        with pytest.raises(KeyProviderError):
            cluster_key_read(kept, spec, cluster.data_plane_id)

    client.force_login(alice)
    page = client.get(f"/o/acme/clusters/operations/{purge.pk}/").content.decode()
    assert "Certificate of erasure" in page
    assert "was destroyed at" in page
    download = client.get(f"/o/acme/clusters/operations/{purge.pk}/erasure.json")
    proven = verify_tombstone(tombstone_of(download.content), anchor)
    assert proven.kind == "cluster"
    assert proven.documents == 1
    assert "aerolith-" in proven.name


def test_a_plain_cluster_turns_encrypted_from_its_settings(
    acme, alice, access_of, tidy_nodes, client_for, settings
):
    access, home = access_of(alice), Path(settings.AEROLITH_HOME)
    with tenant_context(acme.schema_name):
        cluster = made(access, encryption="none")
        write(cluster)
        assert holds(data_of(cluster, home), b"pangolin")
    client = client_for(alice)
    page = client.get(f"/o/acme/clusters/{cluster.pk}/settings/").content.decode()
    assert "The nodes store in the clear" in page
    answer = client.post(
        f"/o/acme/clusters/{cluster.pk}/keys-of-storage/", {"algorithm": "chacha20-poly1305"}
    )
    assert answer.status_code == 302
    with tenant_context(acme.schema_name):
        operation = cluster.operations.filter(kind="rotate_keys").get()
        finish(operation)
        assert not holds(data_of(cluster, home), b"pangolin")
        cluster = cluster_get(cluster.pk)
        assert read(cluster) == "pangolin"
        assert cluster.encryption == "chacha20-poly1305"


def test_the_key_of_a_cluster_is_with_a_key_server(
    acme, alice, access_of, tidy_nodes, settings, tmp_path
):
    with openbao(tmp_path) as server, tenant_context(acme.schema_name):
        token = tmp_path / "token"
        token.write_text("root-of-tests")
        settings.KEY_SERVER_URL, settings.KEY_SERVER_TOKEN_FILE = server.url, str(token)
        access = access_of(alice)
        cluster = made(access)
        write(cluster)
        assert bytes(cluster.wrapped_key).startswith(b"vault:v1:")
        finish(services.cluster_restart_node(access, cluster, node=0)[1])
        assert read(cluster) == "pangolin"
        finish(services.cluster_delete(access, cluster, confirm="Orders")[1])
        finish(
            services.cluster_delete(
                access, cluster_get(cluster.pk), confirm="Orders", now_for_good=True
            )[1]
        )
        keys = f"transit/keys/aerolith-{cluster.data_plane_id}"
        with pytest.raises(Exception, match="404"):
            server.call("GET", keys)


def test_a_cluster_that_cannot_sign_is_deleted_without_a_certificate(
    acme, alice, access_of, tidy_nodes, monkeypatch
):
    monkeypatch.setattr(encrypting, "has_waited", lambda *_: True)
    with tenant_context(acme.schema_name):
        access = access_of(alice)
        cluster = made(access)
        driver().crash(str(cluster.pk), 0)
        finish(services.cluster_delete(access, cluster, confirm="Orders")[1])
        cluster = cluster_get(cluster.pk)
        assert cluster.erasure == {}
        finish(services.cluster_delete(access, cluster, confirm="Orders", now_for_good=True)[1])
        assert Cluster.objects.get(pk=cluster.pk).erasure["destroyed_at"]


def test_a_deletion_that_was_undone_leaves_no_certificate_for_the_next(
    acme, alice, access_of, tidy_nodes
):
    with tenant_context(acme.schema_name):
        access = access_of(alice)
        cluster = made(access)
        write(cluster)
        finish(services.cluster_delete(access, cluster, confirm="Orders")[1])
        finish(services.cluster_restore(access, cluster_get(cluster.pk))[1])
        cluster = cluster_get(cluster.pk)
        with Client([node.url for node in cluster.nodes.all()], admin_key(cluster)) as client:
            client.put("animals", "second", {"name": "okapi"})
        anchor = anchor_get(cluster)
        finish(services.cluster_delete(access, cluster, confirm="Orders")[1])
        tombstone = msgspec.json.encode(cluster_get(cluster.pk).erasure["tombstone"])
        assert verify_tombstone(tombstone_of(tombstone), anchor).documents == 2


def test_a_specification_holds_no_key(acme, alice, access_of, tidy_nodes, settings):
    with tenant_context(acme.schema_name):
        cluster = made(access_of(alice))
        home = Path(settings.AEROLITH_HOME)
        node = home / "clusters" / str(cluster.pk) / "node-0"
        kek = home / "keys" / f"aerolith-{cluster.data_plane_id}.key"
        assert kek.stat().st_mode & 0o777 == 0o600
        assert not holds(node, kek.read_bytes())
        spec = msgspec.json.decode((node / "spec.json").read_bytes())
        assert spec["encryption"]["provider"]["type"] == "file"
