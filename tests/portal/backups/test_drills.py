"""Restores are rehearsed: what is stored is brought into a node, and what came of it said."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from portal.audit.models import AuditEvent
from portal.backups import drilling, services
from portal.backups.drilling import drill_run, drills_due
from portal.backups.models import Drill
from portal.clusters.models import Cluster
from portal.core import clock
from tests.portal.backups.test_taking import take

pytestmark = pytest.mark.django_db


STAGES = ["fetching the backup", "checking the backup", "starting a node", "row "]


def test_the_newest_backup_is_restored_into_a_node_of_its_own(
    access, cluster, client, directory_store, tmp_path
):
    assert drills_due(now=clock.now()) == []
    assert drill_run(cluster.pk) is None
    client.put("people", "alice", {"n": 1})
    take(access, cluster)
    client.put("people", "bob", {"n": 2})
    newest = take(access, cluster)
    assert newest.base is not None
    assert drills_due(now=clock.now()) == [cluster.pk]
    with CaptureQueriesContext(connection) as asked:
        drill = drill_run(cluster.pk)
    assert drill is not None
    told = [words for words in STAGES if any(words in row["sql"] for row in asked)]
    assert told == STAGES, "how far it is can be seen while it is at work"
    assert drill.stage == ""
    assert (drill.problem, drill.sequence) == ("", newest.sequence)
    assert drill.documents == client.stats()["documents"]
    assert drill.seconds > 0
    assert AuditEvent.objects.filter(action="backup.rehearsed").exists()
    assert list((tmp_path / "work").iterdir()) == []
    # Once a week is enough.
    assert drill_run(cluster.pk) is None
    assert drills_due(now=clock.now() + timedelta(days=8)) == [cluster.pk]


def test_a_rehearsal_that_fails_says_why_and_is_not_repeated_at_once(
    access, cluster, client, directory_store
):
    backup = take(access, cluster)
    backup.anchor = {**backup.anchor, "cluster_id": "00" * 16}
    backup.save(update_fields=["anchor"])
    drill = drill_run(cluster.pk)
    assert "other_cluster" in drill.problem
    assert drills_due(now=clock.now()) == []
    Drill.objects.all().delete()
    path = next((directory_store / cluster.data_plane_id).glob("*.state"))
    path.write_bytes(path.read_bytes()[:-1])
    assert "cut" in drill_run(cluster.pk).problem


def test_a_cluster_whose_backups_are_all_given_up_keeps_nobody_from_a_rehearsal(
    access, cluster, client, directory_store
):
    services.backup_delete(access, take(access, cluster))
    assert drills_due(now=clock.now()) == []


def test_only_clusters_in_use_are_rehearsed(access, cluster, directory_store):
    take(access, cluster)
    Cluster.objects.filter(pk=cluster.pk).update(status="deleted", deleted_at=clock.now())
    assert drills_due(now=clock.now()) == []


def test_a_rehearsal_that_takes_too_long_is_ended_and_says_where_it_was(
    access, cluster, client, directory_store, monkeypatch
):
    take(access, cluster)
    monkeypatch.setattr(drilling, "DRILL_TIMEOUT_S", 0)
    assert "It took longer than 0 s" in drill_run(cluster.pk).problem
