"""Moments between backups: what nodes decided is archived, and the window says what can be told."""

import subprocess
from datetime import timedelta

import pytest

from portal.backups import archiving, fetching, services
from portal.backups.archiving import archive_advance, moment_find, segments_write, sequence_at
from portal.backups.branching import restore_begin
from portal.backups.errors import ArchiveDamaged, MomentNotKept, StoreUnavailable
from portal.backups.keeping import read_segment
from portal.backups.models import ArchiveSegment, Backup, Restore
from portal.backups.moments import point_find
from portal.backups.requests import restore_in_place
from portal.backups.selectors import base_for, clusters_backed_up, window_of
from portal.clusters.errors import StepFailed
from portal.clusters.models import Operation
from portal.core import clock
from portal.core.tenancy import public_context
from tests.portal.backups.test_taking import take

pytestmark = pytest.mark.django_db


def test_what_was_decided_since_the_backup_is_archived(
    access, cluster, client, directory_store, tmp_path
):
    assert window_of(cluster) is None
    client.put("people", "alice", {"n": 0})
    first = take(access, cluster)
    assert list(clusters_backed_up()) == [cluster.pk]
    client.put("people", "alice", {"n": 1})
    before = clock.now()
    archive_advance(cluster.pk)
    segment = ArchiveSegment.objects.get()
    assert segment.first == first.sequence + 1
    # A few batches more are not worth a segment until the last one is old.
    client.put("people", "alice", {"n": 2})
    archive_advance(cluster.pk)
    assert ArchiveSegment.objects.count() == 1
    ArchiveSegment.objects.update(created_at=clock.now() - timedelta(minutes=2))
    archive_advance(cluster.pk)
    window = window_of(cluster)
    assert window is not None
    assert (window.first, window.last) == (first.sequence, client.stats()["sequence"])
    assert moment_find(cluster, sequence=window.last) == (first, window.last)
    assert sequence_at(cluster, before) == segment.last
    assert sequence_at(cluster, first.state_at) == first.sequence
    for moment in (first.state_at - timedelta(seconds=1), clock.now() + timedelta(hours=1)):
        with pytest.raises(MomentNotKept):
            sequence_at(cluster, moment)
    second = take(access, cluster)
    assert base_for(cluster, window.last) in {first, second}
    for sequence in (window.first - 1, 10**9):
        with pytest.raises(MomentNotKept):
            moment_find(cluster, sequence=sequence)
    with pytest.raises(MomentNotKept):
        moment_find(cluster)
    list(segments_write(cluster, window.first, window.last, tmp_path / "some"))
    assert len(list((tmp_path / "some").iterdir())) == 2
    stored = next((directory_store / cluster.data_plane_id / "batches").iterdir())
    assert b"alice" not in stored.read_bytes()
    stored.write_bytes(stored.read_bytes()[:-1])
    with pytest.raises(ArchiveDamaged):
        list(segments_write(cluster, window.first, window.last, tmp_path / "others"))


def test_a_damaged_segment_says_which_moments_are_lost(
    access, cluster, client, directory_store, client_for, alice
):
    take(access, cluster)
    client.put("people", "alice", {"n": 1})
    archive_advance(cluster.pk)
    segment = ArchiveSegment.objects.get()
    second = take(access, cluster)
    client.put("people", "alice", {"n": 2})
    ArchiveSegment.objects.update(created_at=clock.now() - timedelta(minutes=2))
    archive_advance(cluster.pk)
    stored = min((directory_store / cluster.data_plane_id / "batches").iterdir())
    stored.write_bytes(stored.read_bytes()[:-1])
    with pytest.raises(ArchiveDamaged) as caught:
        sequence_at(cluster, segment.last_at)
    lost = {"first": segment.first, "last": second.sequence - 1}
    assert caught.value.fields == lost
    assert f"The backup at {second.sequence:,}" in caught.value.detail
    api = f"/api/v1/orgs/acme/clusters/{cluster.pk}/restore"
    asked = {"to_time": segment.last_at.isoformat(), "where": "in_place", "confirm": "Things"}
    home = f"/o/acme/clusters/{cluster.pk}/backups/"
    time = f"{segment.last_at + timedelta(seconds=1):%Y-%m-%d %H:%M:%S}"
    ArchiveSegment.objects.exclude(pk=segment.pk).delete()
    with public_context():
        page = client_for(alice)
        answer = page.post(api, asked, content_type="application/json")
        chosen = page.get(f"{home}moment/", {"time": time}, follow=True)
    assert (answer.status_code, answer.json()["code"]) == (409, "archive_damaged")
    assert "can be restored" in chosen.content.decode()
    assert "is damaged" in chosen.content.decode()


def test_each_event_of_the_audit_log_leads_to_the_state_before_it(
    access, cluster, client, directory_store, client_for, alice
):
    backup = take(access, cluster)
    client.put("people", "ida", {"n": 1})
    client.collection_put("shelves", {})
    record = client.audit(action="collection.put", collection="shelves")["records"][-1]
    archive_advance(cluster.pk)
    home = f"/o/acme/clusters/{cluster.pk}/"
    link = f"{home}backups/moment/?before={record['index']}"
    api = f"/api/v1/orgs/acme/clusters/{cluster.pk}/restore"
    asked = {"where": "in_place", "confirm": "Things", "before_audit_event": record["index"]}
    with public_context():
        page = client_for(alice)
        assert link in page.get(f"{home}audit/?collection=shelves").content.decode()
        chosen = page.get(link)
        shown = page.get(chosen["Location"]).content.decode()
        wrong = {"where": "in_place", "confirm": "Thing", "before": record["index"]}
        refused = page.post(chosen["Location"].partition("?")[0], wrong)
        begun = page.post(api, asked, content_type="application/json")
        nothing = page.post(
            api, {**asked, "before_audit_event": 10**9}, content_type="application/json"
        )
    place = f"{home}backups/{backup.pk}/restore/"
    sequence = record["sequence"] - 1
    assert chosen["Location"] == f"{place}?to_sequence={sequence}&before={record['index']}"
    assert f"Restore to just before record {record['index']:,} of the audit log" in shown
    assert "collection.put of shelves by this portal" in shown
    assert refused.status_code == 409
    assert "collection.put of shelves by this portal" in refused.content.decode()
    assert begun.status_code == 202, begun.content
    assert nothing.status_code == 404
    restore = Restore.objects.get()
    assert restore.before_event == record["index"]
    assert restore.source_sequence == sequence
    operation = Operation.objects.get()
    assert operation.params.get("to_sequence", backup.sequence) == sequence


def test_the_moment_of_a_backup_is_the_backup_that_was_signed(
    access, cluster, client, directory_store
):
    backup = take(access, cluster)
    client.put("people", "jon", {"n": 1})
    archive_advance(cluster.pk)
    point = point_find(cluster, to_sequence=backup.sequence)
    restore_begin(access, point, where="in_place", confirm=cluster.name)
    assert "to_sequence" not in Operation.objects.get().params


class _Death(BaseException):
    """The worker dies here."""


@pytest.mark.parametrize("when", ["before", "after"])
def test_what_a_worker_stored_before_it_died_is_taken_or_removed(
    access, cluster, client, directory_store, monkeypatch, when
):
    take(access, cluster)
    client.put("people", "dan", {"n": 1})
    real = archiving.keep_segment

    def dies(segment, data):
        if when == "after":
            real(segment, data)
        raise _Death

    monkeypatch.setattr(archiving, "keep_segment", dies)
    with pytest.raises(_Death):
        archive_advance(cluster.pk)
    assert window_of(cluster) is None
    monkeypatch.setattr(archiving, "keep_segment", real)
    # More is decided, so that the next segment has another name.
    client.put("people", "dan", {"n": 2})
    archive_advance(cluster.pk)
    ArchiveSegment.objects.update(created_at=clock.now() - timedelta(minutes=2))
    archive_advance(cluster.pk)
    stored = {path.name for path in (directory_store / cluster.data_plane_id / "batches").iterdir()}
    rows = ArchiveSegment.objects.order_by("first")
    assert stored == {f"{row.first:016d}-{row.last:016d}" for row in rows}
    assert all(row.stored_at and row.size_bytes for row in rows)
    assert window_of(cluster).last == client.stats()["sequence"]


def test_archiving_that_was_given_up_meanwhile_leaves_nothing(
    access, cluster, client, directory_store, monkeypatch
):
    take(access, cluster)
    client.put("people", "eve", {"n": 1})
    real = archiving.keep_segment

    def late(segment, data):
        ArchiveSegment.objects.all().delete()
        return real(segment, data)

    monkeypatch.setattr(archiving, "keep_segment", late)
    archive_advance(cluster.pk)
    assert list((directory_store / cluster.data_plane_id / "batches").iterdir()) == []


def test_the_window_is_found_without_reading_every_segment(
    access, cluster, directory_store, django_assert_num_queries
):
    backup = take(access, cluster)
    now = clock.now()
    ArchiveSegment.objects.bulk_create(
        ArchiveSegment(
            cluster=cluster,
            first=backup.sequence + 1 + at,
            last=backup.sequence + 1 + at,
            run_first=backup.sequence + 1 + (300 if at >= 300 else 0),
            first_at=now,
            last_at=now,
            created_at=now,
            stored_at=now,
        )
        for at in range(400)
        if at != 299
    )
    # A hole at 299: what can be told begins with a backup behind it.
    assert window_of(cluster) is None
    Backup.objects.filter(pk=backup.pk).update(sequence=backup.sequence + 350)
    with django_assert_num_queries(3) as asked:
        window = window_of(cluster)
    assert (window.first, window.last) == (backup.sequence + 350, backup.sequence + 400)
    assert all("LIMIT 1" in statement["sql"] for statement in asked.captured_queries)


def test_the_archive_is_deleted_from_its_beginning(
    access, cluster, client, directory_store, monkeypatch
):
    for number in range(3):
        take(access, cluster)
        client.put("people", "fay", {"n": number})
        ArchiveSegment.objects.update(created_at=clock.now() - timedelta(minutes=2))
        archive_advance(cluster.pk)
    newest = take(access, cluster)
    Backup.objects.update(state_at=clock.now() - timedelta(days=3))
    firsts = sorted(ArchiveSegment.objects.values_list("first", flat=True))
    assert len(firsts) == 3
    forgotten = []

    def fails(segment):
        if forgotten:
            raise StoreUnavailable("away")
        forgotten.append(segment.first)

    monkeypatch.setattr(services, "forget_segment", fails)
    services.backups_thin_out(now=clock.now())
    assert forgotten == firsts[:1], "what is left must have no hole"
    assert newest.sequence >= firsts[-1]


def test_a_restore_at_work_keeps_the_archive_that_it_executes(
    access, cluster, client, directory_store
):
    first = take(access, cluster)
    client.put("people", "gus", {"n": 1})
    sequence = client.stats()["sequence"]
    archive_advance(cluster.pk)
    second = take(access, cluster)
    _, operation = restore_in_place(
        access, cluster, first, confirm=cluster.name, to_sequence=sequence
    )
    now = clock.now()
    old = now - timedelta(days=3)
    Backup.objects.filter(pk__in=[first.pk, second.pk]).update(state_at=old)
    services.backups_thin_out(now=now)
    assert ArchiveSegment.objects.exists()
    operation.state = "succeeded"
    operation.save(update_fields=["state"])
    services.backups_thin_out(now=now)
    assert not ArchiveSegment.objects.exists()


@pytest.mark.parametrize("code", ["gap", "other_epoch"])
def test_after_a_gap_the_window_begins_with_the_next_backup(
    access, cluster, client, directory_store, monkeypatch, code
):
    first = take(access, cluster)
    client.put("people", "bob", {"n": 1})
    archive_advance(cluster.pk)
    assert window_of(cluster).first == first.sequence
    client.put("people", "bob", {"n": 2})
    client.put("people", "bob", {"n": 3})
    ArchiveSegment.objects.update(created_at=clock.now() - timedelta(minutes=2))
    real, asked = archiving.fetch_batches, []

    def forgetful(run, deciders, after, **options):
        asked.append(after)
        if len(asked) == 1:
            raise archiving.BackupError(code, "the nodes no longer have it")
        return real(run, deciders, after, **options)

    monkeypatch.setattr(archiving, "fetch_batches", forgetful)
    archive_advance(cluster.pk)
    assert asked[1] > asked[0]
    assert window_of(cluster) is None
    second = take(access, cluster)
    client.put("people", "bob", {"n": 4})
    ArchiveSegment.objects.update(created_at=clock.now() - timedelta(minutes=2))
    archive_advance(cluster.pk)
    window = window_of(cluster)
    assert window.first == second.sequence
    assert base_for(cluster, first.sequence + 1) is None


def test_the_archive_is_as_long_as_the_window(access, cluster, client, directory_store):
    first = take(access, cluster)
    client.put("people", "carol", {"n": 1})
    archive_advance(cluster.pk)
    second = take(access, cluster)
    client.put("people", "carol", {"n": 2})
    ArchiveSegment.objects.update(created_at=clock.now() - timedelta(minutes=2))
    archive_advance(cluster.pk)
    assert ArchiveSegment.objects.count() == 2
    now = clock.now()
    services.backups_thin_out(now=now)
    assert ArchiveSegment.objects.count() == 2
    old = now - timedelta(days=3)
    Backup.objects.filter(pk__in=[first.pk, second.pk]).update(state_at=old)
    services.backups_thin_out(now=now)
    assert ArchiveSegment.objects.get().last > second.sequence
    services.policy_set(access, cluster, every_hours=24, keep={"daily": 7}, window_days=0)
    services.backups_thin_out(now=now)
    assert not ArchiveSegment.objects.exists()
    assert list((directory_store / cluster.data_plane_id / "batches").iterdir()) == []
    archive_advance(cluster.pk)
    assert not ArchiveSegment.objects.exists()


def test_a_replay_goes_on_in_slices_and_one_that_hangs_is_not_begun_again_and_again(
    access, cluster, client, directory_store, tmp_path, monkeypatch
):
    backup = take(access, cluster)
    for number in range(5):
        client.put("people", "gil", {"n": number})
    archive_advance(cluster.pk)
    last = ArchiveSegment.objects.get().last
    told, path = [], tmp_path / "restore" / "backup"
    monkeypatch.setattr(fetching, "SLICE_S", 0)
    for _ in range(last - backup.sequence):
        with pytest.raises(fetching.Unfinished) as caught:
            fetching.state_fetch(backup, path, last, told.append)
        words = str(caught.value)
        if words.startswith(f"sequence {last - 1:,} of"):
            break
    weighed = fetching.state_fetch(backup, path, last, told.append)
    assert weighed.head.certificate.sequence == last
    assert any("to be fetched" in words for words in told)

    def hangs(command, **options):
        raise subprocess.TimeoutExpired(command, options["timeout"])

    monkeypatch.setattr(fetching.subprocess, "run", hangs)
    with pytest.raises(StepFailed) as failed:
        fetching.state_fetch(backup, path, last, told.append)
    assert failed.value.code == "replay_too_slow"


def test_a_long_archive_is_fetched_in_slices_and_nothing_of_it_twice(
    access, cluster, client, directory_store, tmp_path, monkeypatch
):
    backup = take(access, cluster)
    for number in range(3):
        client.put("people", "ida", {"n": number})
        archive_advance(cluster.pk)
        ArchiveSegment.objects.update(created_at=clock.now() - timedelta(minutes=2))
    lasts = list(ArchiveSegment.objects.order_by("first").values_list("last", flat=True))
    read: list[int] = []

    def reading(segment):
        read.append(segment.last)
        return read_segment(segment)

    monkeypatch.setattr(archiving, "read_segment", reading)
    monkeypatch.setattr(fetching, "SLICE_S", 0)
    path = tmp_path / "restore" / "backup"
    for last in lasts[:-1]:
        with pytest.raises(fetching.Unfinished, match=f"up to sequence {last:,} of"):
            fetching.state_fetch(backup, path, lasts[-1], lambda _words: None)
    monkeypatch.setattr(fetching, "SLICE_S", 60)
    weighed = fetching.state_fetch(backup, path, lasts[-1], lambda _words: None)
    assert weighed.head.certificate.sequence == lasts[-1]
    assert read == lasts
    assert len(lasts) == 3


def test_a_backup_that_takes_too_long_to_fetch_is_not_begun_again_and_again(
    access, cluster, client, directory_store, tmp_path, monkeypatch
):
    client.put("people", "hal", {"n": 1})
    backup = take(access, cluster)
    monkeypatch.setattr(fetching, "FETCH_TIMEOUT_S", -1)
    with pytest.raises(StepFailed) as failed:
        fetching.state_fetch(backup, tmp_path / "restore" / "backup", None, lambda _words: None)
    assert failed.value.code == "fetch_too_slow"
