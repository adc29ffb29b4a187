"""Branches: where they come from is seen, and they end with notice, by the operations' engine."""

from datetime import timedelta

import pytest
from django.core import mail

from portal.audit.models import AuditEvent
from portal.backups.branching import branch_expire_set, branches_end_due
from portal.backups.errors import NotABranch
from portal.backups.models import Backup, Branch, Restore
from portal.clusters.errors import UnableToChangeCluster
from portal.clusters.models import Cluster, Operation
from portal.core import clock
from portal.core.errors import Invalid
from portal.core.tenancy import tenant_context
from tests.portal.single import cluster_row, nodes

__all__ = ["nodes"]

pytestmark = pytest.mark.django_db


@pytest.fixture
def source(nodes, acme) -> Cluster:
    with tenant_context(acme.schema_name):
        made = cluster_row(nodes)
        Cluster.objects.update(plan="starter", desired_nodes=3)
        now = clock.now()
        Backup.objects.create(
            cluster=made,
            state="stored",
            trigger="manual",
            requested_by="alice@example.com",
            created_at=now,
            state_at=now,
            sequence=1000,
            epoch=0,
            root="ab" * 32,
            signers=1,
            rows=5,
            size_bytes=9,
        )
        return Cluster.objects.get()


@pytest.fixture
def page(client_for, alice):
    return client_for(alice)


@pytest.fixture
def backup(source, acme) -> Backup:
    with tenant_context(acme.schema_name):
        return Backup.objects.get()


@pytest.fixture
def branch(page, source, backup, acme):
    """A branch that lives for a week, as if it had been made already."""
    path = f"/o/acme/clusters/{source.pk}/backups/{backup.pk}/restore/"
    asked = {"where": "branch", "name": "Try it", "life": "7", "form_token": "t" * 32}
    answer = page.post(path, asked)
    assert answer.status_code == 302, answer.content
    # Pressed twice is made once.
    assert page.post(path, asked)["Location"] == answer["Location"]
    with tenant_context(acme.schema_name):
        Operation.objects.update(state="succeeded")
        Cluster.objects.filter(name="Try it").update(status="running")
        return Branch.objects.select_related("cluster", "source").get()


def test_a_branch_shows_where_it_comes_from_and_when_it_ends(page, branch, source):
    home = f"/o/acme/clusters/{branch.cluster_id}/"
    body = page.get(home).content.decode()
    assert "A branch of" in body
    assert f"/o/acme/clusters/{source.pk}/" in body
    assert "1,000" in body
    assert f"{branch.expires_at:%H:%M} UTC" in body
    every = page.get("/o/acme/clusters/").content.decode()
    assert every.count("branch of Things at 1,000") == 1
    listed = page.get(f"/o/acme/clusters/{source.pk}/backups/").content.decode()
    assert "Branches of this cluster" in listed
    assert "Try it" in listed
    assert "A branch of" not in page.get(f"/o/acme/clusters/{source.pk}/").content.decode()


def test_the_api_makes_lists_and_keeps_branches(page, source, backup, acme):
    api = f"/api/v1/orgs/acme/clusters/{source.pk}/"

    def send(method, path, body):
        return getattr(page, method)(path, body, content_type="application/json")

    ends = (clock.now() + timedelta(days=2)).isoformat()
    asked = {"backup": str(backup.pk), "where": "branch", "name": "By script", "expires": ends}
    soon = {**asked, "expires": (clock.now() + timedelta(minutes=5)).isoformat()}
    assert send("post", f"{api}restore", soon).json()["code"] == "invalid"
    made = send("post", f"{api}restore", asked)
    assert made.status_code == 202, made.content
    assert made.json()["operation"]["kind"] == "restore_backup"
    (row,) = page.get(f"{api}branches").json()["results"]
    assert row["source"] == {"cluster": str(source.pk), "name": "Things", "sequence": 1000}
    own = f"/api/v1/orgs/acme/clusters/{row['cluster']}/branch"
    assert page.get(own).json() == row
    assert page.get(f"{api}branch").status_code == 404
    assert send("patch", own, {"expires": None}).json()["expires"] is None
    assert send("patch", own, {"expires": soon["expires"]}).status_code == 422
    assert send("patch", own, {}).status_code == 422
    other = send("patch", f"{api}branch", {"expires": None})
    assert (other.status_code, other.json()["code"]) == (409, "not_a_branch")


def test_people_are_told_a_day_before_and_then_the_engine_moves_it_to_the_bin(
    branch, acme, django_capture_on_commit_callbacks
):
    ends = branch.expires_at
    with tenant_context(acme.schema_name):
        assert branches_end_due(now=ends - timedelta(days=2)) == 0
        assert mail.outbox == []
        with django_capture_on_commit_callbacks(execute=True):
            branches_end_due(now=ends - timedelta(hours=23))
            branches_end_due(now=ends - timedelta(hours=22))
        (letter,) = mail.outbox
        assert letter.to == ["alice@example.com"]
        assert "The branch Try it ends on" in letter.subject
        assert "a branch of Things" in letter.body
        assert branches_end_due(now=ends - timedelta(seconds=1)) == 0
        assert branches_end_due(now=ends) == 1
        assert branches_end_due(now=ends) == 0
        operation = Operation.objects.first()
        assert (operation.kind, operation.cluster_id) == ("delete", branch.cluster_id)
        assert Cluster.objects.get(pk=branch.cluster_id).status == "deleting"
        told = set(AuditEvent.objects.values_list("action", flat=True))
        assert {"branch.created", "branch.end_announced", "branch.ended"} <= told


def test_of_a_short_life_people_are_told_in_its_last_quarter(branch, acme):
    with tenant_context(acme.schema_name):
        ends = branch.created_at + timedelta(hours=4)
        Branch.objects.update(expires_at=ends)
        branches_end_due(now=ends - timedelta(minutes=61))
        assert Branch.objects.get().noticed_at is None
        branches_end_due(now=ends - timedelta(minutes=60))
        assert Branch.objects.get().noticed_at is not None


def test_a_branch_does_not_end_untold_however_late_the_workers_are(branch, acme):
    with tenant_context(acme.schema_name):
        late = branch.expires_at + timedelta(days=3)
        assert branches_end_due(now=late) == 0
        assert branches_end_due(now=late + timedelta(minutes=29)) == 0
        assert branches_end_due(now=late + timedelta(minutes=30)) == 1


def test_a_branch_waits_for_the_operation_at_work(branch, acme):
    with tenant_context(acme.schema_name):
        Operation.objects.filter(kind="restore_backup").update(state="running")
        Branch.objects.update(noticed_at=branch.created_at)
        assert branches_end_due(now=branch.expires_at) == 0
        Operation.objects.update(state="succeeded")
        assert branches_end_due(now=branch.expires_at) == 1


def test_what_stopped_for_a_person_does_not_keep_a_branch_from_its_end(branch, acme):
    with tenant_context(acme.schema_name):
        stopped = Operation.objects.filter(kind="restore_backup")
        stopped.update(state="needs_operator")
        Cluster.objects.filter(pk=branch.cluster_id).update(status="needs_operator")
        Branch.objects.update(noticed_at=branch.created_at)
        assert branches_end_due(now=branch.expires_at - timedelta(seconds=1)) == 0
        assert stopped.get().state == "needs_operator"
        assert branches_end_due(now=branch.expires_at) == 1
        assert stopped.get().state == "cancelled"
        assert Cluster.objects.get(pk=branch.cluster_id).status == "deleting"
        told = set(AuditEvent.objects.values_list("action", flat=True))
        assert {"operation.abandoned", "branch.ended"} <= told


def test_a_branch_that_was_never_made_is_removed_at_its_end_or_says_what_keeps_it(
    page, branch, acme
):
    with tenant_context(acme.schema_name):
        making = Operation.objects.filter(kind="create")
        making.update(state="needs_operator", finished_at=None)
        now = branch.created_at
        Branch.objects.update(noticed_at=now - timedelta(hours=1), expires_at=now)
        assert branches_end_due(now=clock.now()) == 0
        assert (making.get().cancel_requested, making.get().state) == (True, "queued")
        making.update(state="needs_operator")
        assert branches_end_due(now=clock.now()) == 0
        assert making.get().state == "needs_operator", "it is not tried again and again"
        assert making.count() == 1
        pk = making.get().pk
    body = page.get(f"/o/acme/clusters/{branch.cluster_id}/").content.decode()
    assert f"/operations/{pk}/" in body
    assert "only a person can go on with it" in body


def test_one_that_is_kept_does_not_end_and_to_shorten_it_is_to_delete_it(
    page, client_for, bob, branch, acme
):
    path = f"/o/acme/clusters/{branch.cluster_id}/backups/branch/"
    assert "The end of this branch" in page.get(path.removesuffix("branch/")).content.decode()
    developer = client_for(bob)
    refused = developer.post(path, {"life": "1"}, follow=True)
    assert "To have it end sooner is to delete it" in refused.content.decode()
    developer.post(path, {"life": "30"})
    developer.post(path, {"life": ""})
    with tenant_context(acme.schema_name):
        assert Branch.objects.get().expires_at is None
        assert branches_end_due(now=clock.now() + timedelta(days=400)) == 0


def test_what_was_taken_out_of_the_bin_is_kept(branch, acme):
    with tenant_context(acme.schema_name):
        Branch.objects.update(noticed_at=branch.created_at)
        assert branches_end_due(now=branch.expires_at) == 1
        Operation.objects.update(state="succeeded")
        assert branches_end_due(now=branch.expires_at + timedelta(days=1)) == 0


def test_the_end_is_not_changed_of_one_that_is_on_its_way_to_the_bin(
    page, branch, access_of, alice, acme
):
    with tenant_context(acme.schema_name):
        Branch.objects.update(noticed_at=branch.created_at)
        assert branches_end_due(now=branch.expires_at) == 1
        with pytest.raises(UnableToChangeCluster, match="recycle bin"):
            branch_expire_set(access_of(alice), branch.cluster, expires_at=None)
        assert Branch.objects.get().ended_at is not None
    path = f"/o/acme/clusters/{branch.cluster_id}/backups/branch/"
    told = page.post(path, {"life": "30"}, follow=True).content.decode()
    assert "on its way to the recycle bin" in told
    assert "The end of this branch is changed" not in told


def test_only_branches_have_an_end(source, access_of, alice, branch, acme):
    with tenant_context(acme.schema_name):
        access = access_of(alice)
        with pytest.raises(NotABranch):
            branch_expire_set(access, source, expires_at=None)
        with pytest.raises(Invalid):
            branch_expire_set(access, branch.cluster, expires_at=clock.now() + timedelta(days=400))
        assert Restore.objects.get().source_sequence == 1000
