"""Evidence in the portal: checked before it is stored, said once, shown with what it proves."""

import json
import threading
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec
import psycopg
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from dataplane.client.__main__ import main
from dataplane.client.evidence import document_of, read_evidence
from dataplane.client.local import LocalCluster
from dataplane.consensus.evidence import proof_from
from dataplane.consensus.messages import Commit, vote_payload
from dataplane.security.signing import Ed25519Signer
from portal.audit.models import AuditEvent
from portal.clusters import services, tasks
from portal.clusters.accountability import fetching
from portal.clusters.accountability import services as accountability
from portal.clusters.accountability.types import EvidenceItem
from portal.clusters.models import Cluster, Evidence, EvidenceReport, Experiment, Node
from portal.clusters.operations import engine
from portal.clusters.selectors import accused_nodes, cluster_get
from portal.core import clock
from portal.core.crypto import seal
from portal.core.tenancy import tenant_context
from tests.processes.conftest import wait_for, wait_ready

SIGNERS = {node: Ed25519Signer(bytes([node + 1]) * 32) for node in range(4)}
PAGES = "/o/acme/clusters/"
API = "/api/v1/orgs/acme/clusters/"


@pytest.fixture
def cluster(acme, alice, access_of) -> Cluster:
    """A cluster of four whose keys are known here."""
    with tenant_context(acme.schema_name):
        made, _ = services.cluster_create(
            access_of(alice), name="Orders", plan="starter", region="local-1", nodes=4
        )
        Cluster.objects.filter(pk=made.pk).update(
            status="running", ready_at=clock.now(), admin_key=seal(b"adk_admin_key")
        )
        for index, signer in SIGNERS.items():
            key = signer.public_key.hex()
            Node.objects.create(
                cluster=made, index=index, name=f"orders-{index}", public_key=key, state="ready"
            )
        return cluster_get(made.pk)


def item(cluster: Cluster, liar: int = 3, sequence: int = 1, signer: int | None = None):
    cluster_id, votes = bytes.fromhex(cluster.data_plane_id), []
    for digest in (b"\1" * 32, b"\2" * 32):
        payload = vote_payload(b"C", cluster_id, epoch=0, view=0, sequence=sequence, digest=digest)
        sig = SIGNERS[liar if signer is None else signer].sign(payload)
        votes.append(Commit(0, 0, sequence, digest, liar, sig))
    proof = proof_from(*votes)
    assert proof is not None
    return EvidenceItem(document_of(proof, cluster.data_plane_id), clock.now())


def take(acme, cluster: Cluster, reporter: int, *items: EvidenceItem) -> int:
    with tenant_context(acme.schema_name):
        node = cluster.nodes.get(index=reporter)
        return accountability.evidence_take(cluster, node, items)


def stored(acme, cluster: Cluster) -> Evidence:
    with tenant_context(acme.schema_name):
        return Evidence.objects.filter(cluster=cluster).first()


# --- Taking in ------------------------------------------------------------------------------------


def test_a_proof_is_stored_once_whoever_reports_it_and_said_once(
    acme, cluster, mailoutbox, django_capture_on_commit_callbacks
):
    with django_capture_on_commit_callbacks(execute=True):
        assert take(acme, cluster, 0, item(cluster)) == 1
        assert take(acme, cluster, 1, item(cluster), item(cluster, sequence=2)) == 1
        assert take(acme, cluster, 1, item(cluster)) == 0
    with tenant_context(acme.schema_name):
        assert Evidence.objects.count() == 2
        first = Evidence.objects.get(sequence=1)
        assert [report.node for report in first.reports.all()] == [0, 1]
        (event,) = AuditEvent.objects.filter(action="node.accused")
        assert event.after == {
            "node": 3,
            "kind": "commit",
            "view": 0,
            "sequence": 1,
            "reported_by_node": 0,
        }
    (mail,) = mailoutbox
    assert mail.to == ["alice@example.com"]
    assert mail.subject == "Node 3 of Orders was caught lying"
    assert f"{PAGES}{cluster.pk}/accountability/" in mail.body


def test_what_proves_nothing_is_not_stored_and_names_nobody(acme, cluster):
    other = Cluster(data_plane_id="f" * 32)
    good = item(cluster)
    change = msgspec.structs.replace
    lies = [
        item(cluster, liar=0, signer=3),
        item(other),
        change(item(other), proof=change(item(other).proof, cluster_id=cluster.data_plane_id)),
        change(good, proof=change(good.proof, replica=0)),
        change(good, proof=change(good.proof, epoch=1)),
        change(good, proof=change(good.proof, replica=9)),
        change(good, proof=change(good.proof, second=good.proof.first)),
    ]
    assert take(acme, cluster, 3, *lies) == 0
    with tenant_context(acme.schema_name):
        assert not Evidence.objects.exists()
        assert not AuditEvent.objects.filter(action="node.accused").exists()


def test_a_second_liar_is_told_of_too_and_each_has_its_bound(acme, cluster, monkeypatch):
    monkeypatch.setattr(accountability, "PER_NODE_MAX", 2)
    many = [item(cluster, liar, sequence) for liar in (3, 2) for sequence in (1, 2, 3)]
    assert take(acme, cluster, 0, *many) == 4
    with tenant_context(acme.schema_name):
        accused = AuditEvent.objects.filter(action="node.accused").order_by("pk")
        assert [event.after["node"] for event in accused] == [3, 2]


def test_a_time_ahead_of_ours_is_not_believed(acme, cluster):
    ahead = msgspec.structs.replace(item(cluster), seen=clock.now().replace(year=9000))
    take(acme, cluster, 0, ahead)
    with tenant_context(acme.schema_name):
        assert EvidenceReport.objects.get().seen_at <= clock.now()


def broken(cluster: Cluster, behaviour: str, **fields) -> Experiment:
    now = clock.now()
    known = {"status": "running", "is_beyond_f": False, "started_by": "alice", "created_at": now}
    return Experiment.objects.create(
        cluster=cluster, faults={"3": behaviour}, ends_at=now, **known | fields
    )


def test_what_a_node_was_made_to_sign_is_told_apart_from_what_it_signs_by_itself(
    acme, cluster, mailoutbox, monkeypatch
):
    monkeypatch.setattr(accountability, "PER_NODE_MAX", 2)
    with tenant_context(acme.schema_name):
        experiment = broken(cluster, "equivocate")
    assert take(acme, cluster, 0, *(item(cluster, sequence=s) for s in (1, 2, 3))) == 2
    with tenant_context(acme.schema_name):
        assert {row.experiment_id for row in Evidence.objects.all()} == {experiment.pk}
        assert accused_nodes(cluster) == {3: 2}
        (event,) = AuditEvent.objects.filter(action="node.accused")
        assert event.after["experiment"] == str(experiment.pk)
        over = clock.now() - timedelta(minutes=5)
        Experiment.objects.update(status="over", reverted_at=over)
        assert accused_nodes(cluster) == {}
    assert mailoutbox == []
    # What comes by itself has room, counts and alarms.
    assert take(acme, cluster, 0, item(cluster, sequence=9)) == 1
    with tenant_context(acme.schema_name):
        assert accused_nodes(cluster) == {3: 1}
        assert AuditEvent.objects.filter(action="node.accused").count() == 2


LONG_AGO = {"status": "over", "reverted_at": clock.now() - timedelta(hours=3)}


@pytest.mark.parametrize(
    ("behaviour", "fields", "is_behind"),
    [
        ("equivocate", {}, True),
        ("crash", {}, False),
        ("equivocate", {"status": "over", "reverted_at": clock.now()}, True),
        ("equivocate", LONG_AGO, False),
        # However late it arrives: the sequence tells.
        ("equivocate", LONG_AGO | {"outcome": {"first_sequence": 1, "last_sequence": 9}}, True),
        ("equivocate", LONG_AGO | {"outcome": {"first_sequence": 2, "last_sequence": 9}}, False),
        ("equivocate", {"outcome": {"first_sequence": 2}}, False),
        ("equivocate", {"outcome": {"first_sequence": 1}}, True),
    ],
)
def test_only_an_experiment_that_makes_it_sign_lies_excuses_a_node(
    acme, cluster, behaviour, fields, is_behind
):
    with tenant_context(acme.schema_name):
        broken(cluster, behaviour, **fields)
    take(acme, cluster, 0, item(cluster), item(cluster, liar=2))
    with tenant_context(acme.schema_name):
        rows = {row.node: row.experiment_id is not None for row in Evidence.objects.all()}
    assert rows == {3: is_behind, 2: False}


# --- Fetching -------------------------------------------------------------------------------------


class LyingNode:
    """Answers whatever a test wants, on a real socket."""

    def __init__(self) -> None:
        self.body = b"{}"
        self.asked: list[str] = []
        node = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                node.asked.append(self.path)
                self.send_response(200)
                self.send_header("Content-Length", str(len(node.body)))
                self.end_headers()
                self.wfile.write(node.body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def lying_node(acme, cluster):
    node = LyingNode()
    with tenant_context(acme.schema_name):
        Node.objects.filter(cluster=cluster, index=0).update(
            host="127.0.0.1", http_port=node.server.server_port, observed={"evidence": 5}
        )
    yield node
    node.server.shutdown()
    node.server.server_close()


def collect(acme, cluster) -> int:
    with tenant_context(acme.schema_name):
        return accountability.evidence_collect(cluster_get(cluster.pk))


def answer(items: list[EvidenceItem], count: int, node_id: int = 0) -> bytes:
    results = [msgspec.to_builtins(each) for each in items]
    return json.dumps({"node_id": node_id, "count": count, "results": results}).encode()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b"[]",
        b'{"node_id":0,"count":-1,"results":[]}',
        b'{"node_id":1,"count":0,"results":[]}',
        b'{"node_id":0,"count":1,"results":[{"proof":{},"seen":"2026-01-01T00:00:00Z"}]}',
        b" " * (fetching.ANSWER_BYTES_MAX + 1),
    ],
)
def test_what_a_node_makes_up_is_bounded_and_believed_by_nobody(acme, cluster, lying_node, body):
    lying_node.body = body
    assert collect(acme, cluster) == 0
    assert len(lying_node.asked) <= fetching.PAGES_PER_TURN
    with tenant_context(acme.schema_name):
        assert not Evidence.objects.exists()


def test_good_proofs_in_an_answer_that_is_too_long_or_of_another_node_are_dropped(
    acme, cluster, lying_node
):
    lying_node.body = answer([item(cluster)], 1) + b" " * fetching.ANSWER_BYTES_MAX
    assert collect(acme, cluster) == 0
    lying_node.body = answer([item(cluster)], 1, node_id=1)
    assert collect(acme, cluster) == 0
    lying_node.body = answer([item(cluster)], 1)
    assert collect(acme, cluster) == 1


def test_a_node_that_always_claims_more_is_asked_a_bounded_number_of_times(
    acme, cluster, lying_node
):
    lying_node.body = answer([item(cluster)], 10**9)
    assert collect(acme, cluster) == 1
    assert len(lying_node.asked) == fetching.PAGES_PER_TURN


def test_only_news_is_read_and_a_lost_disk_makes_all_of_it_news(acme, cluster, lying_node):
    lying_node.body = answer([item(cluster, sequence=s) for s in range(1, 6)], 5)
    assert collect(acme, cluster) == 5
    assert collect(acme, cluster) == 0
    assert len(lying_node.asked) == 1
    with tenant_context(acme.schema_name):
        assert Node.objects.get(cluster=cluster, index=0).evidence_read == 5
        Node.objects.filter(cluster=cluster, index=0).update(observed={"evidence": 1})
    lying_node.body = answer([item(cluster, sequence=9)], 1)
    assert collect(acme, cluster) == 1
    assert "cursor=0" in lying_node.asked[-1]


@pytest.mark.parametrize(("told", "asked"), [(0, 0), (1, 1), (10**9, 1), (None, 0), ("many", 0)])
def test_a_node_is_read_when_its_figures_show_news(acme, cluster, monkeypatch, told, asked):
    orders: list[dict[str, str]] = []

    def look(cluster: Cluster, _driver: object) -> None:
        for node in cluster.nodes.all():
            node.observed = {"evidence": told}

    monkeypatch.setattr(tasks, "cluster_observe", look)
    monkeypatch.setattr(
        tasks.evidence_collect, "apply_async", lambda kwargs, **_: orders.append(kwargs)
    )
    tasks.observe(schema=acme.schema_name, cluster_id=str(cluster.pk))
    assert orders == [{"schema": acme.schema_name, "cluster_id": str(cluster.pk)}] * asked


def test_one_task_at_a_time_reads_the_proofs_of_a_cluster(acme, cluster, monkeypatch, services):
    read: list[Cluster] = []
    monkeypatch.setattr(tasks, "collect", read.append)
    work = {"schema": acme.schema_name, "cluster_id": str(cluster.pk)}
    key = (cluster.pk.int ^ tasks.EVIDENCE_LOCK) & engine._LOCK_MASK
    with psycopg.connect(services.database_url(services.database), autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(%s)", [key])
        tasks.evidence_collect(**work)
        assert read == []
        other.execute("SELECT pg_advisory_unlock(%s)", [key])
        tasks.evidence_collect(**work)
    assert len(read) == 1


@pytest.mark.slow
def test_evidence_of_a_real_liar_arrives(acme, cluster, tmp_path, client_for, alice):
    nodes = LocalCluster(tmp_path, 4, liars={3: "double_voter"})
    nodes.start()
    try:
        wait_ready(nodes, 0, 1, 2)
        with tenant_context(acme.schema_name):
            Cluster.objects.filter(pk=cluster.pk).update(
                data_plane_id=nodes.cluster_id, admin_key=seal(nodes.api_key.encode())
            )
            for member in nodes.members:
                Node.objects.filter(cluster=cluster, index=member.id).update(
                    host=member.host,
                    http_port=member.http_port,
                    public_key=member.public_key,
                    observed={"evidence": 10**6},
                )
        wait_for(lambda: collect(acme, cluster) > 0, "a proof reaches the portal")
        row = stored(acme, cluster)
        assert row.node == 3
        page = client_for(alice).post(f"{PAGES}{cluster.pk}/accountability/{row.pk}/")
        assert "Proven, checked just now" in page.content.decode()
    finally:
        nodes.kill()


# --- Pages ----------------------------------------------------------------------------------------


def test_without_evidence_the_page_says_what_that_means(client_for, alice, cluster):
    body = client_for(alice).get(f"{PAGES}{cluster.pk}/accountability/").content.decode()
    assert "No node of this cluster was ever caught lying" in body
    assert "<strong>f = 1</strong>" in body
    assert "That is no promise that none ever lied" in body
    assert "What to do now" not in body


def test_an_accused_node_is_shown_everywhere_with_its_proof(acme, client_for, alice, cluster):
    take(acme, cluster, 0, item(cluster, sequence=7))
    take(acme, cluster, 2, item(cluster, sequence=7))
    page = client_for(alice)
    body = page.get(f"{PAGES}{cluster.pk}/accountability/").content.decode()
    assert "1 node was caught lying; the data is right" in body
    assert "view 0, sequence 7" in body
    assert "node 0" in body
    assert "node 2" in body
    assert "What to do now" in body
    overview = page.get(f"{PAGES}{cluster.pk}/").content.decode()
    assert "signed statements that contradict each other" in overview
    assert f"{PAGES}{cluster.pk}/accountability/" in overview


def test_more_liars_than_f_are_no_longer_harmless(acme, client_for, alice, cluster):
    take(acme, cluster, 0, item(cluster, liar=3), item(cluster, liar=2))
    body = client_for(alice).get(f"{PAGES}{cluster.pk}/accountability/").content.decode()
    assert "2 nodes were caught lying; that is more than f = 1" in body


def test_the_button_checks_both_signatures_again(acme, client_for, alice, cluster):
    take(acme, cluster, 0, item(cluster))
    row, page = stored(acme, cluster), client_for(alice)
    url = f"{PAGES}{cluster.pk}/accountability/{row.pk}/"
    assert "Proven" not in page.get(url).content.decode()
    body = page.post(url).content.decode()
    assert "Proven, checked just now" in body
    assert SIGNERS[3].public_key.hex() in body
    assert "node 3 lied, or somebody else has its key" in body
    with tenant_context(acme.schema_name):
        row.proof["second"]["signature"] = "00" * 64
        row.save()
    assert "This proves nothing" in page.post(url).content.decode()
    with tenant_context(acme.schema_name):
        row.proof = {"surprise": 1, "first": {}, "second": {}}
        row.save()
    assert "This proves nothing" in page.post(url).content.decode()


def test_the_downloads_check_offline(acme, client_for, alice, cluster, tmp_path, capsys):
    take(acme, cluster, 0, item(cluster))
    row, page = stored(acme, cluster), client_for(alice)
    base = f"{PAGES}{cluster.pk}/accountability/"
    proof, keys = (
        page.get(f"{base}{row.pk}/proof.json"),
        page.get(f"{API}{cluster.pk}/connection/anchor"),
    )
    assert proof["Content-Disposition"] == 'attachment; filename="node-3-commit-1.json"'
    assert read_evidence(proof.content).replica == 3
    (tmp_path / "proof.json").write_bytes(proof.content)
    (tmp_path / "keys.json").write_bytes(keys.content)
    arguments = ["verify-evidence", str(tmp_path / "proof.json"), "--anchor"]
    assert main([*arguments, str(tmp_path / "keys.json")]) == 0
    assert capsys.readouterr().out.startswith("PROVEN. Node 3 of cluster")


def test_long_lists_have_pages_and_cost_the_same(acme, client_for, alice, cluster):
    page, base = client_for(alice), f"{PAGES}{cluster.pk}/accountability/"

    def cost(url: str) -> int:
        with CaptureQueriesContext(connection) as captured:
            assert page.get(url).status_code == 200
        return len(captured)

    take(acme, cluster, 0, item(cluster))
    cost(base)
    pages, api = cost(base), cost(f"{API}{cluster.pk}/evidence")
    many = [item(cluster, sequence=s) for s in range(2, 26)]
    for reporter in (0, 1, 2):
        take(acme, cluster, reporter, *many)
    assert cost(base) == pages
    assert cost(f"{API}{cluster.pk}/evidence") == api
    body = page.get(base).content.decode()
    assert body.count("Verify</button>") == 15
    older = body.split("?before=")[1].split('"')[0]
    assert page.get(f"{base}?before={older}").content.decode().count("Verify</button>") == 10
    assert page.get(f"{base}?before=nonsense").status_code == 404


def test_viewers_see_strangers_find_nothing(acme, globex, client_for, bob, charlie, cluster):
    from portal.organizations.models import Membership

    take(acme, cluster, 0, item(cluster))
    row = stored(acme, cluster)
    Membership.objects.filter(user=bob, organization=acme).update(role="viewer")
    paths = ["", f"{row.pk}/", f"{row.pk}/proof.json"]
    for path in paths:
        url = f"{PAGES}{cluster.pk}/accountability/{path}"
        assert client_for(bob).get(url).status_code == 200
        assert client_for(charlie).get(url).status_code == 404
        assert client_for(charlie).get(url.replace("/acme/", "/globex/")).status_code == 404
    other = f"{PAGES}{cluster.pk}/accountability/{cluster.pk}/"
    assert client_for(bob).get(other).status_code == 404


# --- API ------------------------------------------------------------------------------------------


def test_the_api_lists_proofs_that_can_be_checked(acme, client_for, alice, charlie, cluster):
    take(acme, cluster, 1, item(cluster, sequence=1), item(cluster, sequence=2))
    url = f"{API}{cluster.pk}/evidence"
    body = client_for(alice).get(url, {"limit": 1}).json()
    (first,) = body["results"]
    assert (first["node"], first["kind"], first["sequence"]) == (3, "commit", 2)
    assert [report["node"] for report in first["seen_by"]] == [1]
    assert first["public_key"] == SIGNERS[3].public_key.hex()
    assert read_evidence(first["proof"]).sequence == 2
    rest = client_for(alice).get(body["next"]).json()
    assert [row["sequence"] for row in rest["results"]] == [1]
    assert rest["next"] is None
    assert client_for(charlie).get(url).status_code == 404
