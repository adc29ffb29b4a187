"""Moments between backups: what nodes decided is archived, and the window says what can be told."""

from datetime import timedelta

import pytest

from portal.backups import archiving, services
from portal.backups.archiving import archive_advance, moment_find, segments_write, sequence_at
from portal.backups.errors import MomentNotKept
from portal.backups.models import ArchiveSegment, Backup
from portal.backups.selectors import base_for, clusters_backed_up, window_of
from portal.core import clock
from portal.core.streams import SealedStreamDamaged
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
    segments_write(cluster, window.first, window.last, tmp_path / "some")
    assert len(list((tmp_path / "some").iterdir())) == 2
    stored = next((directory_store / cluster.data_plane_id / "batches").iterdir())
    assert b"alice" not in stored.read_bytes()
    stored.write_bytes(stored.read_bytes()[:-1])
    with pytest.raises(SealedStreamDamaged):
        segments_write(cluster, window.first, window.last, tmp_path / "others")


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
