"""Previews of restores: counted exactly against a real node, shown on the page and by the API."""

from datetime import timedelta

import pytest
from celery.exceptions import SoftTimeLimitExceeded

from dataplane.client.errors import ClientError
from portal.backups import previewing, tasks
from portal.backups.archiving import archive_advance
from portal.backups.errors import (
    BackupNotUsable,
    MomentNotKept,
    PreviewRunning,
    UnableToBackUp,
)
from portal.backups.models import ArchiveSegment, Preview
from portal.backups.moments import Point, point_find
from portal.backups.previewing import preview_request, preview_run, previews_give_up
from portal.clusters.models import Cluster
from portal.core import clock
from portal.core.tenancy import public_context
from tests.portal.backups.test_taking import take

pytestmark = pytest.mark.django_db


def compared(access, point: Point) -> Preview:
    preview = preview_request(access, point)
    preview_run(preview.pk)
    preview.refresh_from_db()
    return preview


def rows(preview: Preview) -> dict[str, tuple[int, ...]]:
    return {
        row["collection"]: tuple(
            row[name] for name in ("now", "then", "added", "changed", "removed")
        )
        for row in preview.collections
    }


def test_what_a_backup_would_change_is_counted(access, cluster, client, directory_store, tmp_path):
    for number in range(4):
        client.put("cities", f"c{number}", {"n": number})
    backup = take(access, cluster)
    client.put("cities", "c0", {"n": 9})
    client.delete("cities", "c1")
    client.put("cities", "new", {})
    client.put("ports", "p", {})
    preview = compared(access, Point(backup))
    assert (preview.state, preview.problem) == ("done", "")
    found = rows(preview)
    assert found["cities"] == (4, 4, 1, 1, 1)
    assert found["ports"] == (1, 0, 0, 0, 1)
    assert preview.now_sequence > preview.sequence
    assert list((tmp_path / "work").iterdir()) == [], "nothing is left on the disk"
    client.collection_drop("ports")


def test_what_a_moment_between_backups_would_change_is_counted(
    access, cluster, client, directory_store
):
    client.put("towns", "a", {})
    take(access, cluster)
    client.put("towns", "b", {})
    moment = client.stats()["sequence"]
    client.delete("towns", "a")
    client.delete("towns", "b")
    archive_advance(cluster.pk)
    assert ArchiveSegment.objects.exists()
    preview = compared(access, point_find(cluster, to_sequence=moment))
    assert preview.problem == ""
    assert rows(preview)["towns"] == (0, 2, 2, 0, 0)
    assert preview.sequence == moment


def test_what_could_not_be_restored_is_not_compared_either(
    access, cluster, client, directory_store, client_for, alice
):
    backup = take(access, cluster)
    beyond = backup.sequence + 1_000
    with pytest.raises(MomentNotKept):
        preview_request(access, Point(backup, beyond))
    home = f"/o/acme/clusters/{cluster.pk}/backups/{backup.pk}/"
    with public_context():
        page, asked = client_for(alice), {"to_sequence": beyond}
        part = page.post(f"{home}preview/", asked, headers={"Aerolith-Fragment": "1"})
        plain = page.post(f"{home}preview/", asked, follow=True)
    for answer in (part, plain):
        assert "does not lead from this backup to that sequence" in answer.content.decode()
    backup.state = "failed"
    backup.save()
    with pytest.raises(BackupNotUsable):
        preview_request(access, Point(backup))
    assert not Preview.objects.exists()


def test_one_is_made_at_a_time_and_one_whose_worker_died_has_failed(
    access, cluster, client, directory_store
):
    first = take(access, cluster)
    client.put("towns", "c", {})
    second = take(access, cluster)
    running = preview_request(access, Point(first))
    assert preview_request(access, Point(first)) == running
    with pytest.raises(PreviewRunning):
        preview_request(access, Point(second))
    previews_give_up(now=clock.now() + timedelta(minutes=13))
    running.refresh_from_db()
    assert running.state == "running", "it waits for its turn"
    Preview.objects.update(begun_at=clock.now())
    previews_give_up(now=clock.now() + timedelta(minutes=11))
    running.refresh_from_db()
    assert running.state == "running"
    previews_give_up(now=clock.now() + timedelta(minutes=13))
    running.refresh_from_db()
    assert (running.state, running.problem) == ("failed", previewing._LEFT)
    preview_run(running.pk)
    running.refresh_from_db()
    assert running.state == "failed", "what is over is not begun again"


def test_one_whose_message_was_lost_is_asked_for_again(
    access, cluster, client, directory_store, acme, monkeypatch
):
    preview = preview_request(access, Point(take(access, cluster)))
    asked: list[dict[str, str]] = []
    monkeypatch.setattr(tasks.preview, "apply_async", lambda kwargs, **_: asked.append(kwargs))
    with public_context():
        tasks.backups_sweep()
    assert asked == [{"schema": acme.schema_name, "preview_id": str(preview.pk)}]
    with public_context():
        tasks.preview(**asked[0])
    preview.refresh_from_db()
    assert preview.state == "done"
    with public_context():
        tasks.backups_sweep()
    assert len(asked) == 1


def test_one_that_fails_says_why(access, cluster, client, directory_store, monkeypatch):
    backup = take(access, cluster)
    stored = next((directory_store / cluster.data_plane_id).glob("*.state"))
    whole = stored.read_bytes()
    stored.write_bytes(whole[:-1])
    assert "cut" in compared(access, Point(backup)).problem
    stored.write_bytes(whole)

    def is_late(*_given, **_options):
        raise SoftTimeLimitExceeded

    monkeypatch.setattr(previewing, "take_backup", is_late)
    assert "longer than a worker may" in compared(access, Point(backup)).problem
    monkeypatch.undo()
    cluster.nodes.update(http_port=0)
    assert compared(access, Point(backup)).state == "failed"
    Cluster.objects.update(status="needs_operator")
    with pytest.raises(UnableToBackUp):
        preview_request(access, Point(take_again(backup)))


def test_one_whose_backup_is_deleted_meanwhile_is_gone_with_it(
    access, cluster, client, directory_store, monkeypatch
):
    preview = preview_request(access, Point(take(access, cluster)))

    def goes(*_given, **_options):
        preview.backup.delete()
        raise ClientError("no matter")

    monkeypatch.setattr(previewing, "take_backup", goes)
    preview_run(preview.pk)
    assert not Preview.objects.exists()


def take_again(backup):
    backup.cluster.refresh_from_db()
    return backup


def test_the_page_and_the_api_show_it(access, cluster, client, directory_store, client_for, alice):
    client.put("cities", "x", {"n": 1})
    backup = take(access, cluster)
    client.put("cities", "x", {"n": 2})
    home = f"/o/acme/clusters/{cluster.pk}/backups/{backup.pk}/"
    api = f"/api/v1/orgs/acme/clusters/{cluster.pk}/restore/preview"
    with public_context():
        page = client_for(alice)
        assert "Compare with now" in page.get(f"{home}restore/").content.decode()
        shown = page.post(f"{home}preview/", headers={"Aerolith-Fragment": "1"}).content.decode()
        plain = page.post(f"{home}preview/")
        asked = {"backup": str(backup.pk)}
        again = page.post(api, asked, content_type="application/json")
        both = {**asked, "to_sequence": 9}
        assert page.post(api, both, content_type="application/json").status_code == 422
    assert "Comparing" in shown
    assert "<html" not in shown
    assert plain["Location"].startswith(f"{home}restore/")
    assert (again.status_code, again.json()["status"]) == (202, "running")
    preview = Preview.objects.get()
    preview_run(preview.pk)
    with public_context():
        done = page.get(f"{api}/{preview.pk}").json()
        shown = page.get(f"{home}restore/").content.decode()
        assert page.get(f"{api}/{backup.pk}").status_code == 404
    assert done["status"] == "done"
    assert {"collection": "cities", "changed": 1}.items() <= next(
        row for row in done["collections"] if row["collection"] == "cities"
    ).items()
    assert "Compare with now again" in shown
    assert "<code>cities</code>" in shown
