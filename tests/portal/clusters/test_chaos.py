"""Who may break what, for how long, and who is told: without nodes."""

from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction

from portal.accounts.services import token_create
from portal.audit.models import AuditEvent
from portal.clusters import services as clusters
from portal.clusters.chaos import services
from portal.clusters.chaos.recording import Happening, records_add
from portal.clusters.constants import EXPERIMENT_PERIOD
from portal.clusters.models import (
    Cluster,
    Experiment,
    ExperimentRecord,
    ExperimentStatus,
    Node,
    Operation,
)
from portal.core import clock
from portal.core.tenancy import tenant_context
from portal.identity.constants import CONFIRMED_FOR
from portal.organizations.models import Membership as Role
from tests.conftest import PASSWORD

API = "/api/v1/orgs/acme/clusters"
HOME = "/o/acme/clusters/"


@pytest.fixture
def made(acme, alice, access_of):
    """Return a function that writes a cluster down, as if it ran."""

    def make(count: int = 4, **fields) -> Cluster:
        with tenant_context(acme.schema_name):
            cluster, operation = clusters.cluster_create(
                access_of(alice), name="Orders", plan="starter", region="local-1", nodes=count
            )
            for index in range(count):
                Node.objects.create(
                    cluster=cluster,
                    index=index,
                    name=f"n{index}",
                    public_key=f"{index + 1:02x}" * 32,
                    host="127.0.0.1",
                    http_port=20_200 + index,
                    state="ready",
                )
            now = clock.now()
            Operation.objects.filter(pk=operation.pk).update(state="succeeded", finished_at=now)
            known = {"status": "running", "ready_at": now, "is_sandbox": True, "genesis": {"x": 1}}
            Cluster.objects.filter(pk=cluster.pk).update(**known | fields)
        return cluster

    return make


@pytest.fixture
def api(client_for, alice):
    return client_for(alice, is_recent=False)


def start(client, cluster, *, faults=None, **fields):
    chosen = {1: "equivocate"} if faults is None else faults
    body = {
        "faults": [{"node": node, "behaviour": how} for node, how in chosen.items()],
        "confirm": "Orders",
        "password": PASSWORD,
    }
    path = f"{API}/{cluster.pk}/chaos"
    return client.post(path, body | fields, content_type="application/json")


def actions(acme) -> list[str]:
    with tenant_context(acme.schema_name):
        return list(AuditEvent.objects.order_by("pk").values_list("action", flat=True))


# --- Beginning --------------------------------------------------------------------------------


def test_an_experiment_is_written_down_with_its_end_before_anything_is_broken(api, made, acme):
    cluster = made()
    answer = start(api, cluster)
    assert answer.status_code == 202
    body = answer.json()
    assert body["experiment"]["faults"] == [{"node": 1, "behaviour": "equivocate"}]
    assert (body["experiment"]["status"], body["experiment"]["beyond_f"]) == ("starting", False)
    assert (body["operation"]["kind"], body["operation"]["status"]) == ("break", "queued")
    with tenant_context(acme.schema_name):
        row = Experiment.objects.get()
        assert row.ends_at - row.created_at == EXPERIMENT_PERIOD == timedelta(minutes=5)
        event = AuditEvent.objects.get(action="cluster.chaos_started")
        assert event.actor_label == "alice@example.com"
        assert event.after["faults"] == {"1": "equivocate"}
        assert event.after["ends_at"] == row.ends_at.isoformat()


@pytest.mark.parametrize(
    ("fields", "asked", "status", "code"),
    [
        ({"is_sandbox": False}, {}, 409, "not_a_sandbox"),
        ({"is_sandbox": False, "profile": "production"}, {}, 409, "production_cluster"),
        ({}, {"confirm": "orders"}, 409, "name_not_confirmed"),
        ({}, {"faults": {}}, 422, "invalid"),
        ({}, {"faults": {1: "charming"}}, 422, "invalid"),
        ({}, {"faults": {7: "crash"}}, 422, "invalid"),
        ({}, {"faults": {1: "crash", 2: "crash"}}, 409, "beyond_f"),
        ({}, {"speed": 3}, 422, "invalid"),
        ({"status": "degraded"}, {}, 409, "cluster_state"),
        ({"deleted_at": clock.now(), "status": "deleted"}, {}, 409, "cluster_state"),
        ({}, {"password": ""}, 403, "reauthentication_required"),
        ({}, {"password": "not mine at all"}, 403, "wrong_password"),
    ],
)
def test_what_may_not_be_broken_is_refused(api, made, acme, fields, asked, status, code):
    answer = start(api, made(**fields), **asked)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    with tenant_context(acme.schema_name):
        assert not Experiment.objects.exists()
        assert not Operation.objects.filter(kind="break").exists()


def test_more_than_f_must_be_asked_for(api, made, acme):
    cluster = made()
    answer = start(api, cluster, faults={0: "crash", 2: "equivocate"})
    assert (answer.json()["f"], answer.json()["asked"]) == (1, 2)
    answer = start(api, cluster, faults={0: "crash", 2: "equivocate"}, beyond_f=True)
    assert answer.status_code == 202
    assert answer.json()["experiment"]["beyond_f"] is True


def test_three_nodes_bear_no_fault_and_the_page_says_so(api, made):
    cluster = made(3)
    assert start(api, cluster).json()["code"] == "beyond_f"
    page = api.get(f"{HOME}{cluster.pk}/chaos/").content.decode()
    assert "<strong>f = 0</strong>" in page
    assert "beyond f" in page


def test_one_at_a_time_and_nothing_else_meanwhile(api, made, acme, alice, access_of):
    cluster = made()
    first = start(api, cluster).json()["experiment"]
    assert start(api, cluster, faults={2: "crash"}).json()["code"] == "experiment_running"
    with tenant_context(acme.schema_name):
        now = clock.now()
        Operation.objects.filter(kind="break").update(state="succeeded", finished_at=now)
        Experiment.objects.update(status="running")
    json = {"content_type": "application/json"}
    asked = [
        api.post(f"{API}/{cluster.pk}/scale", {"nodes": 7}, **json),
        api.post(f"{API}/{cluster.pk}/nodes/1/replace", {}, **json),
        api.post(f"{API}/{cluster.pk}/restart", {"node": 1}, **json),
        api.delete(f"{API}/{cluster.pk}", {"confirm": "Orders"}, **json),
    ]
    assert {(a.status_code, a.json()["code"]) for a in asked} == {(409, "experiment_running")}
    assert asked[0].json()["experiment"] == first["id"]
    put = api.put(f"{API}/{cluster.pk}/sandbox", {"sandbox": False}, **json)
    assert (put.status_code, put.json()["code"]) == (409, "experiment_running")
    page = api.get(f"{HOME}{cluster.pk}/").content.decode()
    assert "broken on purpose until" in page
    assert "/replace/" not in page
    with tenant_context(acme.schema_name), transaction.atomic(), pytest.raises(IntegrityError):
        Experiment.objects.create(
            cluster=cluster,
            faults={},
            is_beyond_f=False,
            started_by="x",
            created_at=now,
            ends_at=now,
        )


# --- Who ---------------------------------------------------------------------------------------


def test_developers_watch_admins_break_and_strangers_learn_nothing(
    made, client_for, bob, charlie, acme
):
    cluster = made()
    developer, stranger = client_for(bob), client_for(charlie)
    answer = start(developer, cluster)
    assert (answer.status_code, answer.json()["permission"]) == (403, "clusters:break")
    assert start(stranger, cluster).status_code == 404
    page = f"{HOME}{cluster.pk}/chaos/"
    assert "Only admins and owners can break nodes" in developer.get(page).content.decode()
    assert developer.post(page, {"node-1": "crash"}).status_code == 403
    assert developer.post(f"{HOME}{cluster.pk}/sandbox/", {"sandbox": "0"}).status_code == 403
    for path in (page, f"{HOME}{cluster.pk}/chaos/revert/"):
        assert stranger.post(path).status_code == 404
    Role.objects.filter(user=bob, organization=acme).update(role="admin")
    assert start(developer, cluster).status_code == 202


def test_a_token_needs_the_scope_and_the_password_each_time(made, client_for, alice, acme, client):
    cluster = made()
    for scopes, status in ((["clusters:write"], 403), (["clusters:break"], 202)):
        _, secret = token_create(user=alice, organization=acme, name="t", scopes=scopes)
        headers = {"Authorization": f"Bearer {secret}"}
        body = {
            "faults": [{"node": 1, "behaviour": "crash"}],
            "confirm": "Orders",
        }
        path = f"{API}/{cluster.pk}/chaos"
        options = {"content_type": "application/json", "headers": headers}
        assert client.post(path, body, **options).status_code == 403
        answer = client.post(path, body | {"password": PASSWORD}, **options)
        assert answer.status_code == status, answer.json()


def test_a_confirmation_holds_for_minutes_in_its_session_only(made, client_for, alice, acme):
    cluster = made()
    mine, other = (client_for(alice, is_recent=False) for _ in range(2))
    page, now = f"{HOME}{cluster.pk}/chaos/", clock.now()
    assert start(mine, cluster, confirm="x").json()["code"] == "name_not_confirmed"
    assert "You confirmed a moment ago" in mine.get(page).content.decode()
    assert "Your password" in other.get(page).content.decode()
    assert start(other, cluster, password="").json()["code"] == "reauthentication_required"
    with clock.frozen(now + CONFIRMED_FOR + timedelta(seconds=5)):
        assert start(mine, cluster, password="").json()["code"] == "reauthentication_required"
    with clock.frozen(now + CONFIRMED_FOR - timedelta(seconds=30)):
        assert start(mine, cluster, password="").status_code == 202
    assert actions(acme).count("member.confirmed") == 1


def test_guessing_passwords_is_slowed_down_and_told(made, api, acme):
    cluster = made()
    codes = [start(api, cluster, password=f"guess {n}").json()["code"] for n in range(25)]
    assert codes[0] == "wrong_password"
    assert codes[-1] == "rate_limited"
    assert start(api, cluster).json()["code"] == "rate_limited"
    assert actions(acme).count("member.confirmation_failed") == codes.count("wrong_password")


# --- The flag ----------------------------------------------------------------------------------


def test_an_admin_makes_a_sandbox_and_it_is_written_down(made, api, acme):
    cluster = made(is_sandbox=False)
    path = f"{HOME}{cluster.pk}/sandbox/"
    page = api.get(f"{HOME}{cluster.pk}/chaos/").content.decode()
    assert "This cluster is no sandbox" in page
    assert "Break them" not in page
    assert "is a sandbox" in api.post(path, {"sandbox": "1"}, follow=True).content.decode()
    api.post(path, {"sandbox": "1"})
    assert api.get(f"{API}/{cluster.pk}").json()["sandbox"] is True
    api.post(path, {"sandbox": "0"})
    told = [action for action in actions(acme) if "sandbox" in action]
    assert told == ["cluster.sandbox_set", "cluster.sandbox_unset"]


def test_a_cluster_of_production_is_never_a_sandbox(made, api, acme, settings, alice, access_of):
    cluster = made(is_sandbox=False, profile="production")
    answer = api.put(
        f"{API}/{cluster.pk}/sandbox", {"sandbox": True}, content_type="application/json"
    )
    assert (answer.status_code, answer.json()["code"]) == (409, "production_cluster")
    assert "for production" in api.get(f"{HOME}{cluster.pk}/chaos/").content.decode()
    with tenant_context(acme.schema_name):
        with transaction.atomic(), pytest.raises(IntegrityError):
            Cluster.objects.filter(pk=cluster.pk).update(is_sandbox=True)
        settings.CLUSTER_PROFILE = "production"
        options = {"plan": "starter", "region": "local-1", "nodes": 3}
        access = access_of(alice)
        usual, _ = clusters.cluster_create(access, name="Usual", **options)
        sandbox, _ = clusters.cluster_create(access, name="Sand", sandbox=True, **options)
        assert (usual.profile, usual.is_sandbox) == ("production", False)
        assert (sandbox.profile, sandbox.is_sandbox) == ("development", True)


# --- Ending ------------------------------------------------------------------------------------


@pytest.fixture
def running(made, api, acme) -> Experiment:
    """An experiment whose nodes are broken, as far as the rows say."""
    cluster = made()
    start(api, cluster)
    with tenant_context(acme.schema_name):
        now = clock.now()
        Operation.objects.filter(kind="break").update(state="succeeded", finished_at=now)
        Experiment.objects.update(status="running", running_at=now)
        return Experiment.objects.get()


def test_it_ends_at_its_time_whoever_is_there(running, acme):
    with tenant_context(acme.schema_name):
        early = running.ends_at - timedelta(seconds=1)
        assert services.experiments_revert_due(now=early) == 0
        assert services.experiments_revert_due(now=running.ends_at) == 1
        running.refresh_from_db()
        assert (running.status, running.reason) == ("reverting", "deadline")
        assert running.ended_by == "automatic revert"
        assert Operation.objects.get(kind="mend").params == {"experiment": str(running.pk)}
        # Once is enough, until the operation stops.
        assert services.experiments_revert_due(now=running.ends_at) == 0
        (event,) = AuditEvent.objects.filter(action="cluster.chaos_reverted")
        assert event.actor_label == "automatic revert"


def test_a_revert_that_stopped_is_tried_again_but_not_for_ever(running, acme):
    with tenant_context(acme.schema_name):
        services.experiments_revert_due(now=running.ends_at)
        mend = Operation.objects.filter(kind="mend")
        for attempt in range(1, 10):
            mend.update(state="needs_operator")
            assert services.experiments_revert_due(now=running.ends_at) == 1
            assert (mend.get().state, mend.get().attempt) == ("queued", attempt + 1)
        mend.update(state="needs_operator")
        assert services.experiments_revert_due(now=running.ends_at) == 0


def test_what_could_not_begin_is_undone_at_once(made, api, acme):
    cluster = made()
    start(api, cluster)
    with tenant_context(acme.schema_name):
        Operation.objects.filter(kind="break").update(state="needs_operator")
        assert services.experiments_revert_due(now=clock.now()) == 1
        experiment, operation = Experiment.objects.get(), Operation.objects.get(kind="break")
        assert (experiment.status, experiment.reason) == ("reverting", "not_started")
        assert operation.cancel_requested
        assert not Operation.objects.filter(kind="mend").exists()


def test_anybody_who_may_break_may_revert_and_only_once(running, api, acme, client_for, bob):
    path = f"{API}/{running.cluster_id}/chaos/{running.pk}/revert"
    assert client_for(bob).post(path).status_code == 403
    answer = api.post(path)
    assert answer.status_code == 202
    assert answer.json()["operation"]["kind"] == "mend"
    assert answer.json()["experiment"]["ended_by"] == "alice@example.com"
    again = api.post(path)
    assert (again.status_code, again.json()["code"]) == (409, "no_experiment")
    assert "cluster.chaos_reverted" in actions(acme)


# --- Seeing ------------------------------------------------------------------------------------


def test_the_timeline_is_read_in_order_and_in_pages(running, api, acme):
    path = f"{API}/{running.cluster_id}/chaos/{running.pk}/timeline"
    facts = {"nodes": [0], "message": "Commit", "reason": "unverified", "count": 3}
    with tenant_context(acme.schema_name):
        for second in range(600):
            records_add(
                running.pk,
                at=clock.now(),
                sample={"view": second},
                happenings=[Happening("rejected", about=1, facts=facts)] if second < 2 else [],
            )
    first = api.get(path).json()
    kinds = [record["kind"] for record in first["results"]]
    assert kinds[:5] == ["rejected", "sample", "rejected", "sample", "sample"]
    assert first["results"][0]["facts"] == facts
    rest = api.get(path, {"after": first["next"]}).json()
    assert (len(first["results"]), len(rest["results"]), rest["next"]) == (500, 102, None)
    assert api.get(path, {"after": "x"}).status_code == 422


def test_what_is_kept_of_an_experiment_is_bounded(running, acme, monkeypatch):
    from portal.clusters.chaos import recording

    monkeypatch.setattr(recording, "EXPERIMENT_EVENTS_MAX", 3)
    monkeypatch.setattr(recording, "EXPERIMENT_SAMPLES_MAX", 2)
    with tenant_context(acme.schema_name):
        for _ in range(4):
            many = [Happening("lost", 0, 1), Happening("found", 0, 1)]
            records_add(running.pk, at=clock.now(), sample={}, happenings=many)
        rows = ExperimentRecord.objects.filter(experiment=running)
        assert rows.exclude(kind="sample").count() == 3
        assert rows.filter(kind="sample").count() == 2
        Experiment.objects.update(status=ExperimentStatus.OVER)
        records_add(running.pk, at=clock.now(), sample={}, happenings=[])
        assert rows.count() == 5


def test_the_page_tells_faults_price_and_what_was_posted(made, api, running):
    page = api.get(f"{HOME}{running.cluster_id}/chaos/").content.decode()
    assert "Equivocate: 1" in page
    assert "Revert now" in page
    assert "data-timeline=" in page


def test_a_refused_form_keeps_what_was_chosen(made, api):
    cluster = made()
    page = f"{HOME}{cluster.pk}/chaos/"
    body = {"node-0": "crash", "node-2": "delay", "confirm": "Orders", "password": PASSWORD}
    answer = api.post(page, body)
    text = answer.content.decode()
    assert answer.status_code == 409
    assert "more than f = 1" in text
    assert '<option value="delay" selected>' in text
    assert PASSWORD not in text
    assert api.post(page, body | {"beyond_f": "1"}).status_code == 302
