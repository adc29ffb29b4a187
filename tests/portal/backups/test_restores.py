"""Backups brought into clusters that the portal made, by the operations' engine."""

import json

import pytest

from dataplane.client.__main__ import main
from dataplane.client.client import Client
from portal.backups import services
from portal.backups.archiving import archive_advance
from portal.backups.branching import restore_begin
from portal.backups.errors import MomentNotKept
from portal.backups.models import Backup, Restore
from portal.backups.moments import point_find
from portal.backups.requests import restore_in_place, restore_new
from portal.backups.taking import backup_advance
from portal.clusters import services as clusters
from portal.clusters.connections import admin_client, node_urls
from portal.clusters.errors import NameNotConfirmed
from portal.clusters.models import Cluster, Operation
from portal.clusters.selectors import cluster_get
from portal.core.errors import NotFound
from portal.core.tenancy import tenant_context
from tests.portal.clusters.lives import finish
from tests.portal.clusters.workers import survive_every_death

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

STEPS = ["check", "safety", "fetch", "load", "prove", "open"]


def made(access, *, nodes: int = 3) -> tuple[Cluster, str]:
    cluster, operation = clusters.cluster_create(
        access, name="Orders", plan="starter", region="local-1", nodes=nodes
    )
    finish(operation)
    cluster = cluster_get(cluster.pk)
    _, secret = clusters.key_create(access, cluster, name="app")
    with Client(node_urls(cluster), secret) as client:
        for result in client.import_documents(
            "orders", [{"_id": f"o-{n}", "n": n} for n in range(300)]
        ):
            assert result["status"] < 300
    return cluster, secret


def backed_up(access, cluster: Cluster) -> Backup:
    backup = services.backup_request(access, cluster)
    assert backup_advance(backup.pk)
    backup.refresh_from_db()
    assert backup.state == "stored", backup.problem
    return backup


def documents(cluster: Cluster, secret: str) -> list[dict]:
    with Client(node_urls(cluster), secret) as client:
        return list(client.iterate("orders", sort={"_id": 1}))


def test_a_backup_becomes_a_new_cluster_that_proves_what_it_holds(
    acme, alice, access_of, tidy_nodes, directory_store, tmp_path, capsys
):
    access = access_of(alice)
    with tenant_context(acme.schema_name):
        source, secret = made(access)
        before = documents(source, secret)
        backed_up(access, source)
        with Client(node_urls(source), secret) as client:
            client.put("orders", "later", {"n": -1})
        backup = backed_up(access, source)
        assert backup.base is not None
        before = documents(source, secret)
        target, operation = restore_new(access, backup, name="Copy", nodes=3, form_token="t" * 32)
        again = restore_new(access, backup, name="Copy", nodes=3, form_token="t" * 32)
        assert again == (target, operation)
        for waiting in Operation.objects.filter(cluster=target).order_by("pk"):
            finish(waiting)
        target = cluster_get(target.pk)
        assert target.status == "running"
        _, own = clusters.key_create(access, target, name="app")
        assert documents(target, own) == before
        restore = Restore.objects.get(operation=operation)
        assert restore.rows == 302
        for name, value in restore.certificate.items():
            (tmp_path / f"{name}.json").write_text(json.dumps(value))
        arguments = ["verify-restore", str(tmp_path / "certificate.json")]
        anchors = [
            "--anchor",
            str(tmp_path / "source_anchor.json"),
            "--into-anchor",
            str(tmp_path / "target_anchor.json"),
        ]
        assert main([*arguments, *anchors]) == 0
        assert f"the content of cluster {source.data_plane_id}" in capsys.readouterr().out
        other = [*anchors[:2], "--into-anchor", str(tmp_path / "source_anchor.json")]
        assert main([*arguments, *other]) == 1
        # Nobody has access to the copy by a key of the source.
        with pytest.raises(Exception, match="unauthenticated"):
            documents(target, secret)


def test_a_restore_in_place_survives_a_worker_killed_after_each_of_its_steps(
    acme, alice, access_of, tidy_nodes, services, tmp_path
):
    access, log = access_of(alice), tmp_path / "worker.log"
    with tenant_context(acme.schema_name):
        cluster, secret = made(access)
        before, backup = documents(cluster, secret), backed_up(access, cluster)
        with Client(node_urls(cluster), secret) as client:
            client.put("orders", "o-1", {"n": "changed"})
            client.put("others", "x", {})
        with pytest.raises(NameNotConfirmed):
            restore_in_place(access, cluster, backup, confirm="Ordres")
        _, operation = restore_in_place(access, cluster, backup, confirm="Orders")
        survive_every_death(services, log, operation, STEPS)
        operation.refresh_from_db()
        assert operation.state == "succeeded"
        cluster = cluster_get(cluster.pk)
        assert cluster.status in {"running", "degraded"}
        assert documents(cluster, secret) == before
        safety = Backup.objects.get(pk=operation.params["safety"])
        assert (safety.trigger, safety.state) == ("safety", "stored")
        # And back again, from the backup that was taken before.
        _, operation = restore_in_place(access, cluster, safety, confirm="Orders")
        finish(operation)
        with Client(node_urls(cluster), secret) as client:
            assert client.get("orders", "o-1")["n"] == "changed"
            assert client.get("others", "x")["_id"] == "x"


def test_a_damaged_backup_is_not_restored_and_the_cluster_goes_on(
    acme, alice, access_of, tidy_nodes, directory_store
):
    access = access_of(alice)
    with tenant_context(acme.schema_name):
        cluster, secret = made(access)
        before, backup = documents(cluster, secret), backed_up(access, cluster)
        path = directory_store / cluster.data_plane_id / f"{backup.pk}.state"
        path.write_bytes(path.read_bytes()[:-10])
        _, operation = restore_in_place(access, cluster, backup, confirm="Orders")
        finish(operation, state="needs_operator")
        assert operation.error_code == "backup_damaged"
        clusters.operation_cancel(access, operation)
        finish(operation, state="cancelled")
        assert cluster_get(cluster.pk).status in {"running", "degraded"}
        assert documents(cluster, secret) == before


def test_the_moment_before_an_audit_event_becomes_a_branch(
    acme, alice, access_of, tidy_nodes, directory_store
):
    access = access_of(alice)
    with tenant_context(acme.schema_name):
        source, secret = made(access)
        backup = backed_up(access, source)
        with Client(node_urls(source), secret) as client:
            client.put("orders", "later", {"n": -1})
            before = list(client.iterate("orders", sort={"_id": 1}))
        with admin_client(source) as client:
            client.collection_drop("orders")
            (dropped,) = client.audit(action="collection.drop", collection="orders")["records"]
        with pytest.raises(MomentNotKept, match=r"not archived yet|No backup"):
            point_find(source, before_audit_event=dropped["index"])
        archive_advance(source.pk)
        with pytest.raises(NotFound):
            point_find(source, before_audit_event=10**6)
        point = point_find(source, before_audit_event=dropped["index"])
        base, sequence = point.backup, point.sequence
        assert (base, sequence) == (backup, dropped["sequence"] - 1)
        with pytest.raises(MomentNotKept):
            restore_new(access, base, name="Copy", nodes=3, to_sequence=10**6)
        target, operation = restore_begin(
            access, point, where="branch", name="Copy", nodes=3, expires_at=None
        )
        for waiting in Operation.objects.filter(cluster=target).order_by("pk"):
            finish(waiting)
        target = cluster_get(target.pk)
        _, own = clusters.key_create(access, target, name="app")
        assert documents(target, own) == before
        restore = Restore.objects.get(operation=operation)
        assert restore.source_sequence == restore.to_sequence == sequence
        assert restore.before_event == dropped["index"]
        assert target.branch.source == source
        assert restore.certificate["certificate"]["cluster_id"] == target.data_plane_id
        # In place too, after what was archived is found damaged first.
        # The first: the later ones are not needed, and directories are in no order.
        segment = min((directory_store / source.data_plane_id / "batches").iterdir())
        whole = segment.read_bytes()
        segment.write_bytes(whole[:-1])
        _, operation = restore_in_place(
            access, source, base, confirm="Orders", to_sequence=sequence
        )
        finish(operation, state="needs_operator")
        assert operation.error_code == "archive_damaged"
        segment.write_bytes(whole)
        clusters.operation_retry(access, operation)
        finish(operation)
        assert documents(source, secret) == before
