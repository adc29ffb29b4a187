"""The page and the API of backups: what is shown, what is refused, and the cost of lists."""

from datetime import timedelta

import pytest

from portal.audit.models import AuditEvent
from portal.backups.models import ArchiveSegment, Backup, BackupPolicy, Drill, Restore
from portal.clusters.models import Operation
from portal.core import clock
from portal.core.tenancy import tenant_context
from tests.portal.single import cluster_row

pytestmark = pytest.mark.django_db


@pytest.fixture
def cluster(nodes, acme):
    with tenant_context(acme.schema_name):
        return cluster_row(nodes)


@pytest.fixture
def home(cluster) -> str:
    return f"/o/acme/clusters/{cluster.pk}/backups/"


@pytest.fixture
def api(cluster) -> str:
    return f"/api/v1/orgs/acme/clusters/{cluster.pk}/"


@pytest.fixture
def page(client_for, alice):
    return client_for(alice)


@pytest.fixture
def stored(cluster, acme):
    """Return a function that writes down backups as if they were stored."""

    def make(count: int = 1, **fields) -> list[Backup]:
        with tenant_context(acme.schema_name):
            return rows(count, **fields)

    def rows(count: int, **fields) -> list[Backup]:
        now = clock.now()
        return [
            Backup.objects.create(
                cluster=cluster,
                state="stored",
                trigger="schedule",
                requested_by="schedule",
                created_at=now - timedelta(hours=hours),
                state_at=now,
                sequence=1000 + hours,
                epoch=0,
                root="ab" * 32,
                signers=1,
                rows=5,
                size_bytes=12_345,
                verified_at=now,
                **fields,
            )
            for hours in range(count)
        ]

    return make


def test_the_empty_page_says_what_a_backup_is(page, home):
    body = page.get(home).content.decode()
    assert "No backups yet" in body
    assert "Back up now" in body


def test_a_list_costs_the_same_statements_however_long(
    page, home, stored, django_assert_max_num_queries
):
    stored(2)
    # Two of them are of the catalogue, which is read anew every half minute.
    with django_assert_max_num_queries(26):
        assert page.get(home).status_code == 200
    stored(40)
    with django_assert_max_num_queries(26):
        body = page.get(home).content.decode()
    assert "1,039" in body
    assert "12.3 kB" in body
    assert "verified" in body


def test_what_is_polled_costs_little(page, home, stored, django_assert_max_num_queries):
    stored(40)
    page.get(home)
    with django_assert_max_num_queries(10):
        assert "12.3 kB" in page.get(f"{home}state/").content.decode()


def test_taking_one_now_and_changing_the_schedule_are_recorded(page, home, acme):
    answer = page.post(home, {"note": "before the change", "keep_days": "30"})
    assert answer.status_code == 302
    grid = {"hourly": 0, "daily": 3, "weekly": 2, "monthly": 1, "yearly": 0, "window_days": 4}
    assert page.post(f"{home}policy/", {"every_hours": "6", **grid}).status_code == 302
    refused = page.post(f"{home}policy/", {"every_hours": "6", **grid, "daily": "91"})
    assert refused.status_code == 422
    with tenant_context(acme.schema_name):
        backup, policy = Backup.objects.get(), BackupPolicy.objects.get()
        assert (backup.note, backup.trigger, backup.state) == (
            "before the change",
            "manual",
            "queued",
        )
        assert backup.keep_until is not None
        assert (policy.every_hours, policy.keep_daily, policy.window_days) == (6, 3, 4)
        actions = set(AuditEvent.objects.values_list("action", flat=True))
        assert {"backup.requested", "backup.policy_changed"} <= actions
    assert "data-open" in page.get(f"{home}state/").content.decode()


def test_a_restore_in_place_needs_the_typed_name_and_the_right(
    client_for, alice, bob, page, home, api, stored, acme
):
    (backup,) = stored()
    path = f"{home}{backup.pk}/restore/"
    assert "Type <strong>Things</strong>" in page.get(path).content.decode()
    answer = page.post(path, {"where": "in_place", "confirm": "Thing"})
    assert answer.status_code == 409
    assert "Type the name" in answer.content.decode()
    developer = client_for(bob)
    assert "Only admins" in developer.get(path).content.decode()
    assert developer.post(path, {"where": "in_place", "confirm": "Things"}).status_code == 403
    assert developer.post(f"{home}{backup.pk}/delete/").status_code == 403
    asked = {"backup": str(backup.pk), "where": "in_place", "confirm": "Things"}
    forbidden = developer.post(f"{api}restore", asked, content_type="application/json")
    assert forbidden.status_code == 403
    with tenant_context(acme.schema_name):
        assert not Operation.objects.exists()
    answer = page.post(path, {"where": "in_place", "confirm": "Things"})
    assert answer.status_code == 302
    with tenant_context(acme.schema_name):
        operation = Operation.objects.get()
        assert answer["Location"].endswith(f"/operations/{operation.pk}/")
        assert Restore.objects.get().operation == operation
    assert "Another operation is not over" in page.get(path).content.decode()
    assert "Restore backup" in page.get(answer["Location"]).content.decode()


def test_a_stranger_finds_nothing(client_for, charlie, home, api, stored):
    (backup,) = stored()
    stranger = client_for(charlie)
    pages = ("", "policy/storage/", f"{backup.pk}/restore/", f"{backup.pk}/preview/", "moment/")
    shapes = ("backups", "restore", "branches", "branch", f"restore/preview/{backup.pk}")
    for path in (*(home + page for page in pages), *(api + shape for shape in shapes)):
        answer = stranger.get(path)
        assert answer.status_code == 404, path
        assert "branch of another" not in answer.content.decode(), "not even that it is none"
    for path in ("backups/policy/preview", "restore/preview"):
        answer = stranger.post(f"{api}{path}", {}, content_type="application/json")
        assert answer.status_code == 404, path


def test_who_may_only_look_changes_nothing(client_for, bob, home, api, stored, acme):
    from portal.organizations.models import Membership

    (backup,) = stored()
    Membership.objects.filter(user=bob, organization=acme).update(role="viewer")
    viewer = client_for(bob)
    assert viewer.get(home).status_code == viewer.get(f"{api}backups").status_code == 200
    for path in (
        home,
        f"{home}policy/",
        f"{home}{backup.pk}/restore/",
        f"{home}{backup.pk}/delete/",
        f"{home}{backup.pk}/preview/",
        f"{home}branch/",
    ):
        assert viewer.post(path).status_code == 403
    assert viewer.get(f"{home}moment/").status_code == 403
    assert viewer.get(f"{api}restore/preview/{backup.pk}").status_code == 403
    assert viewer.patch(f"{api}branch", {}, content_type="application/json").status_code == 403
    for path in ("backups", "restore", "restore/preview"):
        answer = viewer.post(f"{api}{path}", {}, content_type="application/json")
        assert answer.status_code == 403, "the right comes before what was asked"
    assert (
        viewer.put(f"{api}backups/policy", {}, content_type="application/json").status_code == 403
    )
    assert viewer.delete(f"{api}backups/{backup.pk}").status_code == 403


def test_the_api_does_what_the_page_does(page, api, stored, acme):
    def send(method: str, path: str, body: dict):
        return getattr(page, method)(f"{api}{path}", body, content_type="application/json")

    made = send("post", "backups", {"note": "by script", "keep_days": 7})
    assert made.status_code == 202
    assert made.json()["status"] == "queued"
    assert page.get(f"{api}backups/{made.json()['id']}").json() == made.json()
    busy = send("post", "backups", {})
    assert (busy.status_code, busy.json()["code"]) == (409, "backup_running")
    assert send("post", "backups", {"colour": "red"}).status_code == 422
    policy = send("put", "backups/policy", {"every_hours": 12, "keep": {"daily": 5}})
    assert policy.json()["keep"]["daily"] == 5
    assert page.get(f"{api}backups/policy").json()["every_hours"] == 12
    assert send("put", "backups/policy", {"every_hours": 5, "keep": {}}).status_code == 422
    (backup,) = stored()
    listed = page.get(f"{api}backups").json()["results"]
    assert {row["id"] for row in listed} == {made.json()["id"], str(backup.pk)}
    restore = {"backup": str(backup.pk), "where": "in_place", "confirm": "Wrong"}
    assert send("post", "restore", restore).json()["code"] == "name_not_confirmed"
    for wrong in ({**restore, "to_sequence": 7}, {"where": "new", "name": "x"}):
        assert send("post", "restore", wrong).status_code == 422, "one state is named, not two"
    lasting = {**restore, "expires": "2030-01-01T00:00:00Z"}
    assert send("post", "restore", lasting).status_code == 422, "only a branch ends by itself"
    unusable = {"backup": made.json()["id"], "where": "in_place", "confirm": "Things"}
    assert send("post", "restore", unusable).json()["code"] == "backup_not_usable"
    begun = send("post", "restore", {**restore, "confirm": "Things"})
    assert begun.status_code == 202
    assert begun.json()["operation"]["kind"] == "restore_backup"
    assert begun.json()["cluster"]["status"] == "provisioning"
    (row,) = page.get(f"{api}restore").json()["results"]
    assert row["operation"] == begun.json()["operation"]["id"]
    certificate = page.get(f"{api}restore/{row['operation']}/certificate")
    assert certificate.status_code == 404
    in_use = page.delete(f"{api}backups/{backup.pk}")
    assert (in_use.status_code, in_use.json()["code"]) == (409, "backup_in_use")


def test_a_moment_is_chosen_by_sequence_and_refused_outside_the_window(
    page, home, api, stored, cluster, acme
):
    _, later = stored(2)
    assert "Archiving begins" in page.get(home).content.decode()
    now = clock.now()
    with tenant_context(acme.schema_name):
        ArchiveSegment.objects.create(
            cluster=cluster,
            first=1001,
            last=1300,
            run_first=1001,
            stored_at=now,
            first_at=now,
            last_at=now,
            size_bytes=9,
            created_at=now,
        )
    assert "1,300" in page.get(home).content.decode()
    before = page.post(
        f"{home}{later.pk}/restore/",
        {"where": "in_place", "confirm": "Things", "to_sequence": "1000"},
    )
    assert (before.status_code, "does not lead" in before.content.decode()) == (409, True)
    answer = page.get(f"{home}moment/", {"sequence": "1200"})
    assert answer["Location"] == f"{home}{later.pk}/restore/?to_sequence=1200"
    body = page.get(answer["Location"]).content.decode()
    assert "Restore the state after sequence 1,200" in body
    assert body.count('name="to_sequence" value="1200"') == 4
    for asked in ({"sequence": "1301"}, {"sequence": "x"}, {}, {"time": "2020-01-01T00:00"}):
        refused = page.get(f"{home}moment/", asked)
        assert refused["Location"] == home
    window = page.get(f"{api}backups/policy").json()["window"]
    assert (window["first"], window["last"]) == (1000, 1300)
    outside = {"to_sequence": 1301, "where": "in_place", "confirm": "Things"}
    answer = page.post(f"{api}restore", outside, content_type="application/json")
    assert answer.json()["code"] == "moment_not_kept"
    answer = page.post(
        f"{api}restore", {**outside, "to_sequence": 1200}, content_type="application/json"
    )
    assert answer.status_code == 202
    with tenant_context(acme.schema_name):
        assert Operation.objects.get().params["to_sequence"] == 1200


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"documents": 7, "seconds": 2.5}, "7 documents were there"),
        ({"problem": "other_root: no"}, "failed: other_root: no"),
    ],
)
def test_the_last_rehearsal_stands_on_the_page(page, home, api, cluster, acme, fields, words):
    with tenant_context(acme.schema_name):
        now = clock.now()
        Drill.objects.create(cluster=cluster, sequence=9, created_at=now, finished_at=now, **fields)
    assert words in page.get(home).content.decode()
    assert page.get(f"{api}backups/policy").json()["drill"]["sequence"] == 9


def test_a_rehearsal_that_is_at_work_has_not_failed(page, home, api, cluster, acme):
    fields = {"sequence": 9, "problem": "The worker ended first.", "stage": "row 3 of 7"}
    with tenant_context(acme.schema_name):
        drill = Drill.objects.create(cluster=cluster, created_at=clock.now(), **fields)
    body = page.get(home).content.decode()
    assert "is being rehearsed, into a node of its own: row 3 of 7" in body
    assert "The worker ended first." not in body
    assert page.get(f"{api}backups/policy").json()["drill"]["stage"] == "row 3 of 7"
    with tenant_context(acme.schema_name):
        Drill.objects.filter(pk=drill.pk).update(created_at=clock.now() - timedelta(minutes=16))
    assert "The worker ended first." in page.get(home).content.decode()
