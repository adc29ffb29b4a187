"""Backups of a real node in a real store: sealed, read back, thinned out, never half done."""

from datetime import timedelta
from secrets import token_hex

import httpx
import pytest

from portal.backups import services, taking
from portal.backups.errors import BackupInUse, BackupRunning, StoreUnavailable, UnableToBackUp
from portal.backups.keeping import STATE, fetch
from portal.backups.models import Backup, BackupVault
from portal.backups.requests import restore_in_place
from portal.backups.restoring import safety
from portal.backups.selectors import next_due, policy_get
from portal.backups.taking import backup_advance, read_back
from portal.clusters.connections import trust_anchor
from portal.clusters.models import Cluster, Operation
from portal.clusters.operations.types import Context
from portal.clusters.provisioners.process import driver
from portal.core import clock
from portal.core.errors import Invalid
from portal.core.streams import SealedStreamDamaged

pytestmark = pytest.mark.django_db


def take(access, cluster, **options) -> Backup:
    backup = services.backup_request(access, cluster, **options)
    assert backup_advance(backup.pk)
    backup.refresh_from_db()
    assert backup.state == "stored", backup.problem
    return backup


def test_a_backup_in_s3_is_sealed_and_proves_itself(access, cluster, client, s3_store):
    client.put("people", "alice", {"name": "Alice Example"})
    documents = [{"_id": f"p-{n}", "text": token_hex(300)} for n in range(500)]
    assert all(result["status"] == 201 for result in client.import_documents("people", documents))
    backup = take(access, cluster, note="  before   the change ")
    assert backup.note == "before the change"
    assert backup.base is None
    assert backup.verified_at is not None
    assert len(backup.root) == 64
    stored = httpx.get(f"{s3_store}/{cluster.data_plane_id}/{backup.pk}.state", trust_env=False)
    assert stored.is_success
    assert b"Alice" not in stored.content
    assert b"AEROLITH-BACKUP" not in stored.content
    assert b"AEROLITH-BACKUP" in b"".join(fetch(backup, STATE))

    client.put("people", "bob", {"name": "Bob"})
    second = take(access, cluster)
    assert second.base == backup
    assert second.sequence > backup.sequence
    assert second.size_bytes < backup.size_bytes / 2


def test_what_the_store_changed_is_noticed(access, cluster, client, directory_store):
    client.put("people", "alice", {"name": "Alice"})
    backup = take(access, cluster)
    path = directory_store / cluster.data_plane_id / f"{backup.pk}.state"
    whole = path.read_bytes()
    for damaged in (whole[:-1], whole[:60] + bytes([whole[60] ^ 1]) + whole[61:], b""):
        path.write_bytes(damaged)
        with pytest.raises(SealedStreamDamaged):
            read_back(backup, trust_anchor(cluster))
    other = take(access, cluster)
    path.write_bytes((path.with_name(f"{other.pk}.state")).read_bytes())
    with pytest.raises(SealedStreamDamaged):
        read_back(backup, trust_anchor(cluster))
    path.unlink()
    with pytest.raises(StoreUnavailable):
        read_back(backup, trust_anchor(cluster))


@pytest.mark.parametrize("step", ["take_backup", "keep", "read_back", "_stored"])
def test_a_backup_whose_worker_died_at_any_step_is_taken_by_another(
    access, cluster, client, directory_store, monkeypatch, step
):
    client.put("people", "alice", {"name": "Alice"})
    backup = services.backup_request(access, cluster)

    def die(*_args, **_options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(taking, step, die)
        with pytest.raises(KeyboardInterrupt):
            backup_advance(backup.pk)
    backup.refresh_from_db()
    assert backup.is_open
    assert backup_advance(backup.pk)
    backup.refresh_from_db()
    assert (backup.state, backup.attempt) == ("stored", 2)


def test_a_backup_that_cannot_be_taken_is_tried_again_and_then_fails_in_words(
    access, cluster, directory_store
):
    Cluster.objects.filter(pk=cluster.pk).update(data_plane_id="00" * 16)
    backup = services.backup_request(access, cluster)
    for attempt in (1, 2, 3):
        Backup.objects.filter(pk=backup.pk).update(retry_at=None)
        is_over = backup_advance(backup.pk)
        backup.refresh_from_db()
        assert is_over == (attempt == 3)
    assert backup.state == "failed"
    assert "other_cluster" in backup.problem
    services.backup_request(access, cluster)


def test_one_backup_at_a_time_and_only_of_what_serves(access, cluster, directory_store):
    services.backup_request(access, cluster)
    with pytest.raises(BackupRunning):
        services.backup_request(access, cluster)
    cluster.status = "paused"
    with pytest.raises(UnableToBackUp):
        services.backup_request(access, cluster)
    with pytest.raises(Invalid):
        services.backup_request(access, cluster, note="x" * 201)
    with pytest.raises(Invalid):
        services.backup_request(access, cluster, keep_days=0)


def test_the_schedule_takes_backups_when_they_are_due(access, cluster, directory_store):
    now = clock.now()
    assert next_due(cluster, policy_get(cluster)) == cluster.ready_at
    assert services.backups_schedule_due(now=now) == 1
    assert services.backups_schedule_due(now=now) == 0
    backup = Backup.objects.get()
    assert backup.trigger == "schedule"
    assert backup_advance(backup.pk)
    assert services.backups_schedule_due(now=now + timedelta(hours=23)) == 0
    assert services.backups_schedule_due(now=now + timedelta(hours=25)) == 1
    services.policy_set(access, cluster, every_hours=0, keep={})
    Backup.objects.all().update(state="failed")
    assert services.backups_schedule_due(now=now + timedelta(days=9)) == 0
    with pytest.raises(Invalid):
        services.policy_set(access, cluster, every_hours=5, keep={})
    with pytest.raises(Invalid):
        services.policy_set(access, cluster, every_hours=1, keep={"daily": 91})


def test_what_nobody_keeps_goes_but_not_what_others_build_on(
    access, cluster, client, directory_store
):
    client.put("people", "alice", {"name": "Alice"})
    whole, second, third = [take(access, cluster) for _ in range(3)]
    now = clock.now()
    for age, backup in ((3, whole), (2, second), (1, third)):
        Backup.objects.filter(pk=backup.pk).update(
            trigger="schedule", created_at=now - timedelta(days=age)
        )
    services.policy_set(access, cluster, every_hours=24, keep={"daily": 1})
    services.backups_thin_out(now=now)
    assert set(Backup.objects.values_list("pk", flat=True)) == {whole.pk, third.pk}
    assert Backup.objects.get(pk=whole.pk).expired_at is not None
    folder = directory_store / cluster.data_plane_id
    assert not (folder / f"{second.pk}.state").exists()
    # Nobody is offered the whole one, but it is there: the next one builds on it too.
    client.put("people", "bob", {"name": "Bob"})
    fourth = take(access, cluster)
    assert fourth.base == whole
    services.backup_delete(access, fourth)
    assert services.backups_thin_out(now=now) == 1
    services.backup_delete(access, third)
    assert services.backups_thin_out(now=now) == 1
    assert services.backups_thin_out(now=now) == 1
    assert list(folder.iterdir()) == []


def test_backups_go_with_a_cluster_that_is_deleted_for_good(
    access, cluster, client, directory_store
):
    backup = take(access, cluster)
    Cluster.objects.filter(pk=cluster.pk).update(purged_at=clock.now(), admin_key=b"")
    services.backups_thin_out(now=clock.now())
    assert not Backup.objects.filter(pk=backup.pk).exists()
    assert list((directory_store / cluster.data_plane_id).iterdir()) == []
    assert not BackupVault.objects.exists(), "what a store may still have is not to be read"


def test_a_backup_that_a_restore_needs_stays(access, cluster, client, directory_store):
    backup, other = take(access, cluster), take(access, cluster)
    _, operation = restore_in_place(access, cluster, backup, confirm="Things")
    with pytest.raises(BackupInUse):
        services.backup_delete(access, backup)
    operation.params["safety"] = str(other.pk)
    operation.save()
    with pytest.raises(BackupInUse):
        services.backup_delete(access, other)
    Operation.objects.filter(pk=operation.pk).update(state="cancelled")
    services.backup_delete(access, backup)


def test_before_a_restore_a_backup_of_its_own_is_taken(access, cluster, client, directory_store):
    backup = take(access, cluster)
    other = services.backup_request(access, cluster, keep_days=1)
    _, operation = restore_in_place(access, cluster, backup, confirm="Things")
    context = Context(operation, operation.cluster, driver())
    waiting = safety(context)
    assert waiting is not None
    assert waiting.reason == "another backup to end"
    other.refresh_from_db()
    assert other.state == "stored"
    assert safety(context) is None
    own = Backup.objects.get(pk=operation.params["safety"])
    assert (own.trigger, own.state) == ("safety", "stored")
