"""The clients against a real node, and against nodes that fail in chosen ways."""

import contextlib
import http.server
import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from dataplane.client import ApiError, AsyncClient, Client, ClusterUnreachableError
from dataplane.client import attempts as shared
from dataplane.client.local import LocalCluster
from tests.processes.conftest import wait_ready


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    cluster = LocalCluster(Path(tmp_path_factory.mktemp("node")), 1)
    cluster.start()
    wait_ready(cluster)
    yield cluster
    cluster.kill()


@pytest.fixture
def client(node):
    with Client(node.urls, node.api_key) as client:
        yield client


@pytest.fixture
def failing():
    """Start a node that answers what it is told to, and keeps the requests it got."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do(self):
            size = int(self.headers.get("Content-Length", "0"))
            self.rfile.read(size)
            self.server.seen.append(dict(self.headers))
            status, headers, body = self.server.answers.pop(0)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            data = json.dumps(body).encode()
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_PUT = do_POST = do  # noqa: N815 - the names the server looks for

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.seen, server.answers = [], []
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


NO_QUORUM = (503, {"Retry-After": "0"}, {"code": "no_quorum", "detail": "not now"})


def test_documents_live_their_whole_life_through_the_client(client):
    made = client.create("life", {"n": 1})
    place = ("life", made["_id"])
    assert client.get(*place) == made
    assert client.put(*place, {"n": 2}, if_match=1)["_version"] == 2
    assert client.patch(*place, {"m": 3})["m"] == 3
    assert client.patch(*place, {"$inc": {"n": 5}}, operators=True)["n"] == 7
    with pytest.raises(ApiError) as stale:
        client.put(*place, {}, if_match=1)
    assert (stale.value.status, stale.value.code) == (412, "precondition_failed")
    assert stale.value.fields["version"] == 4
    with pytest.raises(ApiError) as there:
        client.put(*place, {}, absent=True)
    assert there.value.status == 412
    client.delete(*place)
    with pytest.raises(ApiError) as gone:
        client.get(*place, consistency="session")
    assert gone.value.code == "not_found"


def test_an_import_of_any_length_gives_each_document_its_result(client):
    documents = [{"_id": f"d{n:04}", "n": n} for n in range(1200)] + [{"n": -1}, {"_bad": 1}]
    results = list(client.import_documents("import", iter(documents)))
    assert [result["status"] for result in results[:1201]] == [201] * 1201
    assert results[-1]["status"] == 422
    found = list(client.iterate("import", filter={"n": {"$gte": 0}}, sort={"n": 1}))
    assert [document["n"] for document in found] == list(range(1200))


def test_an_import_tells_how_far_it_is_and_can_be_run_again(client):
    rows = [{"n": n} for n in range(700)] + [{"_bad": 1}, {"n": 700}]
    seen = []

    def told(report) -> None:
        seen.append(report.done)
        if len(seen) == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        client.import_all("again", rows, progress=told, idempotency_key="import-7")
    assert client.aggregate("again", [{"$count": "n"}])["documents"] == [{"n": 500}]
    report = client.import_all("again", iter(rows), progress=told, idempotency_key="import-7")
    assert seen == [500, 500, 702]
    assert (report.stored, report.refused, report.batches) == (701, 1, 2)
    assert [(one.number, one.code) for one in report.refusals] == [(700, "invalid")]
    assert client.aggregate("again", [{"$count": "n"}])["documents"] == [{"n": 701}]


def test_keys_limits_and_collections_are_managed(client):
    client.collection_put("managed", {})
    assert "managed" in [c["name"] for c in client.collections()]
    client.collection_drop("managed")
    assert "managed" not in [c["name"] for c in client.collections()]
    record = {"name": "k", "hash": "0" * 64, "scopes": ["documents:read"]}
    assert client.key_put("abc", record)["name"] == "k"
    listed = client.keys()
    assert "abc" in [key["id"] for key in listed]
    client.key_revoke("abc")
    assert client.quota_put({"calls_limit": 10_000_000})["calls"]["limit"] == 10_000_000
    assert client.nodes()["quorum"] == 1
    assert client.stats()["ready"] is True


async def test_a_policy_of_tiers_is_set_and_shown_through_both_clients(client, node):
    client.collection_put("tiered", {"conflict_policy": "lww"})
    told = client.collection_tier("tiered", cold_after_s=3600)
    assert told["options"] == {"conflict_policy": "lww", "tiering": {"cold_after_s": 3600}}
    assert set(told["tiers"]) == {"memory", "ssd", "distributed", "archive"}
    client.put("tiered", "a", {"n": 1})
    plan = client.query("tiered", explain=True)["plan"]
    assert plan["tiers"] == {"memory": 0, "ssd": 1, "distributed": 0, "archive": 0}
    assert plan["segments"]["needed"] == 0
    assert client.stats()["tiers"]["ssd"]["documents"] >= 1
    async with AsyncClient(node.urls, node.api_key) as other:
        assert (await other.collection_tier("tiered", cold_after_s=60))["options"]["tiering"] == {
            "cold_after_s": 60
        }
        assert (await other.collection_tier("tiered"))["options"] == {"conflict_policy": "lww"}


async def test_the_asyncio_client_does_the_same(node):
    async with AsyncClient(node.urls, node.api_key) as client:
        made = await client.create("aio", {"n": 1})
        assert await client.get("aio", made["_id"]) == made
        assert (await client.patch("aio", made["_id"], {"n": 2}))["n"] == 2
        imported = [r async for r in client.import_documents("aio", [{"n": n} for n in range(600)])]
        assert len(imported) == 600
        report = await client.import_all("aio-all", [{"n": n} for n in range(600)])
        assert (report.stored, report.batches) == (600, 2)
        assert len([d async for d in client.iterate("aio", filter={"n": {"$gte": 0}})]) == 601
        await client.delete("aio", made["_id"])
        with pytest.raises(ApiError):
            await client.get("aio", made["_id"])
        assert await client.ready()
        assert (await client.stats())["ready"]


def test_one_address_may_stand_alone(node):
    with Client(node.urls[0], node.api_key) as client:
        assert client.ready()


def test_both_clients_offer_the_same_calls():
    def names(kind):
        return {name for name in vars(kind) if not name.startswith("_")}

    assert names(Client) == names(AsyncClient)


def test_a_write_is_repeated_under_the_same_key_at_the_next_node(node, failing):
    failing.answers = [NO_QUORUM]
    with Client([failing.url, node.urls[0]], node.api_key, follow=False) as client:
        document = client.create("repeat", {"n": 1})
        sent = failing.seen[0]["Idempotency-Key"]
        again = client.create("repeat", {"n": 1}, idempotency_key=sent)
        assert again["_id"] == document["_id"], "the node saw another key than the first one did"
        assert len(failing.seen) == 1, "the node that works is asked first from then on"


def test_the_client_pauses_between_rounds_and_gives_up_with_the_last_refusal(failing, monkeypatch):
    paused = []
    monkeypatch.setattr("dataplane.client.client.time.sleep", paused.append)
    slow = (503, {"Retry-After": "60"}, {"code": "not_ready", "detail": "starting"})
    failing.answers = [slow, slow]
    with Client([failing.url], "adk_a_b") as client, pytest.raises(ApiError) as refusal:
        client.put("c", "x", {})
    assert refusal.value.code == "not_ready"
    assert paused == [shared.PAUSE_S_MAX]
    assert failing.seen[0]["Idempotency-Key"] == failing.seen[1]["Idempotency-Key"]


def test_what_asking_again_does_not_change_is_not_asked_again(failing):
    failing.answers = [(429, {"Retry-After": "9"}, {"code": "quota_exceeded", "limit": 5})]
    with Client([failing.url], "adk_a_b") as client, pytest.raises(ApiError) as refusal:
        client.get("c", "x")
    assert refusal.value.fields["limit"] == 5
    assert len(failing.seen) == 1
    assert "Idempotency-Key" not in failing.seen[0]


def test_an_answer_that_is_no_problem_document_is_an_error_too(failing):
    failing.answers = [(502, {}, ["a proxy's page"])]
    with Client([failing.url], "adk_a_b") as client, pytest.raises(ApiError) as refusal:
        client.get("c", "x")
    assert (refusal.value.status, refusal.value.code) == (502, "unknown")


def test_a_session_read_carries_the_newest_position_seen(failing):
    position = {"Aerolith-Sequence": "41"}
    failing.answers = [(200, position, {}), (404, {}, {"code": "not_found"}), (200, {}, {})]
    with Client([failing.url], "adk_a_b") as client:
        client.put("c", "x", {})
        with contextlib.suppress(ApiError):
            client.get("c", "y")
        client.get("c", "x", consistency="session")
    assert [seen.get("Aerolith-After") for seen in failing.seen] == [None, "41", "41"]


def test_no_node_at_all_is_told():
    with (
        Client(["http://127.0.0.1:9"], "adk_a_b") as client,
        pytest.raises(ClusterUnreachableError, match="no node answered"),
    ):
        client.stats()
    with pytest.raises(ClusterUnreachableError):
        Client([], "adk_a_b")


def test_the_command_line_shows_status_documents_and_queries(node, client, tmp_path):
    client.bulk("cli", [{"op": "put", "id": f"d{n}", "document": {"n": n}} for n in range(30)])
    token_file = tmp_path / "token"
    token_file.write_text(node.api_key + "\n")

    program = [sys.executable, "-m", "dataplane.client", "--url", node.urls[0]]

    def call(*arguments):
        return subprocess.run(
            [*program, "--token-file", str(token_file), *arguments],
            capture_output=True,
            text=True,
            check=False,
        )

    assert json.loads(call("status").stdout)["nodes"]["quorum"] == 1
    assert json.loads(call("get", "cli", "d7").stdout)["n"] == 7
    lines = call("query", "cli", "--sort", '{"n": -1}', "--limit", "3").stdout.splitlines()
    assert [json.loads(line)["n"] for line in lines] == [29, 28, 27]
    missing = call("get", "cli", "nothing")
    assert (missing.returncode, missing.stdout) == (1, "")
    assert "not_found" in missing.stderr
    assert node.api_key not in missing.stderr
    assert call("query", "cli", "--filter", "[").returncode == 1


def test_an_import_of_large_documents_stays_below_what_a_node_takes_at_once(client, node):
    """Thirty documents of 900 kB are more than one body may have."""
    text = "x" * 900_000
    rows = [{"_id": f"large{n}", "text": text, "n": n} for n in range(30)]
    results = list(client.import_documents("large", rows))
    assert [(r["id"], r["status"]) for r in results] == [(f"large{n}", 201) for n in range(30)]


def test_a_pipeline_answers_through_both_clients(client, node):
    client.put("piped", "a", {"n": 2})
    client.put("piped", "b", {"n": 3})
    pipeline = [{"$group": {"_id": None, "total": {"$sum": "$n"}}}]
    answer = client.aggregate("piped", pipeline, explain=True)
    assert answer["documents"] == [{"_id": None, "total": 5}]
    assert "plan" in answer


def test_a_write_that_is_named_is_done_once(client):
    first = client.put("named", "a", {"n": 1}, idempotency_key="one")
    assert client.put("named", "a", {"n": 1}, idempotency_key="one") == first
    changed = client.patch("named", "a", {"n": 2}, idempotency_key="two")
    assert client.patch("named", "a", {"n": 2}, idempotency_key="two") == changed
    client.delete("named", "a", idempotency_key="three")
    client.delete("named", "a", idempotency_key="three")


async def test_transactions_through_both_clients(client, node):
    both = [
        {"op": "put", "collection": "tx", "id": "a", "document": {"n": 1}},
        {"op": "get", "collection": "tx", "id": "a"},
    ]
    assert [item["status"] for item in client.transact(both)] == [201, 200]
    async with AsyncClient(node.urls, node.api_key) as other:
        with pytest.raises(ApiError) as refused:
            await other.transact([both[0], {**both[1], "id": "none"}])
    assert refused.value.code == "conflict"
    assert refused.value.fields["index"] == 1
    assert refused.value.fields["cause"]["code"] == "not_found"
    assert client.get("tx", "a")["_version"] == 1


@pytest.mark.parametrize("document_id", [".", "..", "...", "%2E%2E"])
def test_an_id_is_never_taken_for_a_step_in_the_path(client, document_id):
    client.put("dots", "kept", {"n": 1})
    if document_id in {".", ".."}:
        with pytest.raises(ApiError) as refused:
            client.put("dots", document_id, {"n": 2})
        assert refused.value.code == "invalid"
        with pytest.raises(ApiError):
            client.delete("dots", document_id)
    else:
        client.put("dots", document_id, {"n": 2})
        assert client.get("dots", document_id)["n"] == 2
        client.delete("dots", document_id)
    assert client.get("dots", "kept")["n"] == 1, "the collection is still there"
    client.collection_drop("dots")
