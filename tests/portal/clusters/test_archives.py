"""Clusters whose nodes archive: told where, each below its own prefix, and cleared at the end."""

import json
import stat
from pathlib import Path

import msgspec
import pytest

from dataplane.client.client import Client
from dataplane.client.local import free_ports
from dataplane.client.spec import load_spec
from portal.clusters import archives, services
from portal.clusters.archives import archive_refusal, archive_store
from portal.clusters.connections import admin_key
from portal.clusters.models import Cluster
from portal.clusters.operations.lifecycle import clear_archive
from portal.clusters.operations.types import Context, Waiting
from portal.clusters.provisioners.process import driver
from portal.clusters.selectors import cluster_get
from portal.core.tenancy import tenant_context
from tests.portal.clusters.lives import finish, until
from tests.s3_server import S3Server

BUCKET = "cold"
SECRET = "what-the-store-is-opened-with"
POLICY = {"tiering": {"cold_after_s": 1, "archive_after_s": 2}}
lives = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module")
def s3(tmp_path_factory):
    server = S3Server(tmp_path_factory.mktemp("s3"))
    server.start(BUCKET)
    yield server
    server.stop()


@pytest.fixture
def store(s3, settings):
    settings.ARCHIVE_STORE_URL = f"s3://{BUCKET}/of-us"
    settings.ARCHIVE_STORE_OPTIONS = {
        "endpoint": s3.url,
        "access_key_id": "any",
        "secret_access_key": SECRET,
    }


def test_a_store_is_named_by_its_url_and_secrets_are_not_shown(store, s3, settings):
    found = archive_store()
    assert (found.spec.url, found.spec.bucket, found.spec.prefix) == (
        s3.url,
        BUCKET,
        "of-us/archive/",
    )
    assert SECRET not in repr(found)
    settings.ARCHIVE_STORE_OPTIONS = {"region": "eu-north-1"}
    assert archive_store().spec.url == "https://s3.eu-north-1.amazonaws.com"
    assert archive_store().credentials is None, "those of the environment are used"
    settings.ARCHIVE_STORE_URL = "file:///somewhere"
    assert archive_store().spec.url == "file:///somewhere"
    settings.ARCHIVE_STORE_URL = ""
    assert archive_store() is None


def made(access, **options) -> Cluster:
    cluster, operation = services.cluster_create(
        access, name="Orders", plan="free", region="local-1", nodes=1, **options
    )
    finish(operation)
    return cluster_get(cluster.pk)


def archived(client) -> int:
    return client.collections()[0].get("tiers", {}).get("archive", {}).get("documents", 0)


@lives
@pytest.mark.slow
def test_nodes_archive_and_what_they_archived_goes_with_the_cluster(
    store, s3, acme, alice, access_of, tidy_nodes, settings, monkeypatch
):
    access, home = access_of(alice), Path(settings.AEROLITH_HOME)
    with tenant_context(acme.schema_name):
        cluster = made(access)
        assert archive_refusal(cluster) == ""
        folder = home / "clusters" / str(cluster.pk) / "node-0"
        spec = load_spec(folder / "spec.json")
        assert spec.archive.prefix == "of-us/archive/"
        path = Path(spec.archive.credentials_file)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert json.loads(path.read_text())["secret_access_key"] == SECRET
        with Client([node.url for node in cluster.nodes.all()], admin_key(cluster)) as client:
            client.collection_put("animals", POLICY)
            for number in range(3):
                client.put("animals", f"a{number}", {"name": "pangolin " * 30})
            until(lambda: archived(client) == 3)
            assert client.get("animals", "a0")["name"].startswith("pangolin")
        for name in ("spec.json", "node.log"):
            assert SECRET not in (folder / name).read_text()

        finish(services.cluster_delete(access, cluster, confirm="Orders")[1])
        cluster = cluster_get(cluster.pk)
        others = archive_store()
        told: list[str] = []
        assert archives.archive_clear(others, "00" * 16, told.append) == 0
        purge = services.cluster_delete(access, cluster, confirm="Orders", now_for_good=True)[1]
        # The store is away first: the operation says so and goes on when it is back.
        settings.ARCHIVE_STORE_OPTIONS |= {"endpoint": f"http://127.0.0.1:{free_ports(1)[0]}"}
        context = Context(purge, cluster, driver())
        waiting = clear_archive(context)
        assert isinstance(waiting, Waiting)
        assert "the store of archives" in waiting.reason
        assert SECRET not in waiting.reason
        settings.ARCHIVE_STORE_OPTIONS |= {"endpoint": s3.url}
        monkeypatch.setattr(archives, "CLEAR_S", 0)
        assert clear_archive(context) == Waiting("more archived segments to be deleted")
        monkeypatch.undo()
        finish(purge)
        step = purge.steps.get(name="archive")
        assert step.status == "succeeded"
        assert archives.archive_clear(others, cluster.data_plane_id, told.append) == 0
        assert not path.exists()


@lives
@pytest.mark.slow
def test_a_node_that_was_placed_before_there_was_a_store_learns_of_it_when_restarted(
    store, acme, alice, access_of, tidy_nodes, settings
):
    access, url = access_of(alice), settings.ARCHIVE_STORE_URL
    settings.ARCHIVE_STORE_URL = ""
    with tenant_context(acme.schema_name):
        cluster = made(access)
        path = Path(settings.AEROLITH_HOME) / "clusters" / str(cluster.pk) / "node-0" / "spec.json"
        before = load_spec(path)
        assert before.archive is None
        settings.ARCHIVE_STORE_URL = url
        finish(services.cluster_restart_node(access, cluster, node=0)[1])
        told = load_spec(path)
        assert told.archive.bucket == BUCKET
        assert msgspec.structs.replace(told, archive=None) == before
        with Client([node.url for node in cluster.nodes.all()], admin_key(cluster)) as client:
            client.collection_put("animals", POLICY)


@lives
@pytest.mark.slow
def test_a_cluster_that_stores_in_the_clear_has_no_archive(
    store, acme, alice, access_of, tidy_nodes, settings
):
    with tenant_context(acme.schema_name):
        cluster = made(access_of(alice), encryption="none")
        assert "Only clusters that encrypt" in archive_refusal(cluster)
        folder = Path(settings.AEROLITH_HOME) / "clusters" / str(cluster.pk) / "node-0"
        assert load_spec(folder / "spec.json").archive is None
        assert not (folder / "archive.json").exists()
        settings.ARCHIVE_STORE_URL = ""
        assert archive_refusal(cluster) == "This installation has no store for archives."
