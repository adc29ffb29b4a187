"""The audit log over HTTP: who did what, proven, and nothing read that is not written down."""

import json
import time

import grpc
import httpx
import pytest

from dataplane.client import AsyncClient, Client, ProofError, TrustAnchor, verify_audit
from dataplane.client.__main__ import main
from dataplane.documents.audit_commands import ReportAudit
from dataplane.documents.commands import (
    decode_op,
)
from dataplane.gateways.auditing import AuditReporter, Seen
from dataplane.gateways.auth import CALLING
from dataplane.gateways.errors import Problem
from dataplane.gateways.rpc.pb import aerolith_pb2 as pb
from dataplane.gateways.rpc.pb import aerolith_pb2_grpc as stubs
from dataplane.wire.audit import AuditRecord, hash_record
from tests.dataplane.gateways.conftest import problem
from tests.dataplane.gateways.test_rpc import Bound
from tests.dataplane.gateways.test_websocket import Talk, opened


@pytest.fixture
def level(api):
    """Set the level for one test; the others run at basic."""

    def put(name: str) -> None:
        assert api.put("/audit", json={"level": name}).status_code == 200

    yield put
    put("basic")


def newest(api, **options):
    params = {"order": "desc", **options}
    return api.get("/audit", params=params).json()["records"]


def until_recorded(api, **options):
    """Return records once the gateway reported them, which it does within a second or two."""
    for _ in range(200):
        if found := newest(api, **options):
            return found
        time.sleep(0.05)
    raise AssertionError(f"nothing recorded of {options}")


def test_an_order_of_an_administrator_is_recorded_under_the_key_that_gave_it(
    api, make_key, collection
):
    headers, key_id = make_key("collections:admin")
    assert api.put(f"/collections/{collection}", json={}, headers=headers).status_code == 201
    assert api.delete(f"/collections/{collection}", headers=headers).status_code == 204
    drop, put = newest(api, collection=collection)
    assert (put["action"], put["actor"], put["status"], put["node"]) == (
        "collection.put",
        key_id,
        201,
        0,
    )
    assert (drop["action"], drop["actor"]) == ("collection.drop", key_id)
    (made,) = newest(api, action="key", limit=1)
    assert (made["action"], made["id"]) == ("key.put", key_id)


def test_what_a_gateway_forbids_is_recorded_too_and_equal_tries_as_one(api, make_key):
    headers, key_id = make_key("documents:read")
    for _ in range(3):
        problem(api.put("/quota", json={}, headers=headers), 403, "forbidden")
    found = until_recorded(api, actor=key_id)
    assert sum(record["count"] for record in found) == 3
    assert (found[0]["action"], found[0]["code"]) == ("quota.put", "forbidden")


def test_at_level_full_writes_have_their_author_and_plain_reads_leave_no_trace(
    api, level, make_key, collection, documents
):
    level("full")
    headers, key_id = make_key("documents:read", "documents:write")
    api.put(f"{documents}/a", json={"n": 1}, headers=headers)
    api.put(f"{documents}/a", json={"n": 2}, headers={**headers, "If-Match": '"9"'})
    api.get(f"{documents}/a", headers=headers)
    refused, put = newest(api, collection=collection)
    assert (put["action"], put["id"], put["version"], put["actor"]) == (
        "document.put",
        "a",
        1,
        key_id,
    )
    assert (refused["status"], refused["code"]) == (412, "precondition_failed")


def test_at_level_forensic_reads_are_recorded_by_who_read_what(
    api, level, make_key, collection, documents
):
    level("forensic")
    headers, key_id = make_key("documents:read", "documents:write")
    api.put(f"{documents}/a", json={"name": "Ada"}, headers=headers)
    api.get(f"{documents}/a", headers=headers)
    api.get(f"{documents}/b", headers=headers)
    question = {"filter": {"name": "Ada"}}
    api.post(f"/collections/{collection}/query", json=question, headers=headers)
    (query,) = until_recorded(api, actor=key_id, action="document.query")
    assert "Ada" not in json.dumps(query), "a question may name a person"
    read, missed = newest(api, actor=key_id, action="document.read")[::-1]
    assert (read["id"], read["status"], read["version"]) == ("a", 200, 1)
    assert (missed["id"], missed["status"], missed["code"]) == ("b", 404, "not_found")
    (put,) = newest(api, actor=key_id, action="document.put")
    assert len(put["after"]) == 64


def by_websocket(node, token, collection):
    frame = {"collection": collection, "document_id": "x"}
    with opened(node, {"Authorization": f"Bearer {token}"}) as socket:
        talk = Talk(socket)
        talk.ask(type="put", document={"n": 1}, **frame)
        talk.ask(type="get", **frame)


def by_grpc(node, token, collection):
    with grpc.insecure_channel(f"127.0.0.1:{node.grpc_ports[0]}") as channel:
        data = Bound(stubs.DataServiceStub(channel), token)
        data.Put(pb.PutRequest(collection=collection, id="x", json=b'{"n":1}'))
        data.Get(pb.GetRequest(collection=collection, id="x"))


def by_graphql(node, token, collection):
    for text in (
        f'mutation {{ put(collection: "{collection}", id: "x", data: {{n: 1}}) {{ id }} }}',
        f'query {{ document(collection: "{collection}", id: "x") {{ data }} }}',
    ):
        headers = {"Authorization": f"Bearer {token}"}
        body = {"query": text}
        answer = httpx.post(f"{node.urls[0]}/graphql", json=body, headers=headers, trust_env=False)
        assert "errors" not in answer.json()


@pytest.mark.parametrize("protocol", [by_websocket, by_grpc, by_graphql])
def test_every_protocol_says_who_wrote_and_read(
    node, api, level, make_key, collection, documents, protocol
):
    level("forensic")
    headers, key_id = make_key("documents:read", "documents:write")
    protocol(node, headers["Authorization"].removeprefix("Bearer "), collection)
    (read,) = until_recorded(api, collection=collection, action="document.read")
    (put,) = newest(api, collection=collection, action="document.put")
    assert (read["actor"], put["actor"]) == (key_id, key_id)
    assert (read["id"], read["status"], put["status"]) == ("x", 200, 201)


def test_at_level_forensic_the_lists_of_collections_and_archives_are_reads_too(
    node, api, level, make_key
):
    level("forensic")
    headers, key_id = make_key("documents:read", "cluster:admin")
    body = {"query": "{ collections { name } }"}
    graph = httpx.post(f"{node.urls[0]}/graphql", json=body, headers=headers, trust_env=False)
    assert "errors" not in graph.json()
    assert until_recorded(api, actor=key_id, action="collection.read")[0]["status"] == 200
    last = api.get("/stats").json()["sequence"]
    assert api.get(f"/batches?after={last}", headers=headers).status_code == 200
    assert until_recorded(api, actor=key_id, action="batch.read")[0]["status"] == 200


def test_what_grpc_forbids_is_recorded_with_the_document(node, api, make_key, collection):
    headers, key_id = make_key("documents:read")
    token = headers["Authorization"].removeprefix("Bearer ")
    with grpc.insecure_channel(f"127.0.0.1:{node.grpc_ports[0]}") as channel:
        data = Bound(stubs.DataServiceStub(channel), token)
        with pytest.raises(grpc.RpcError):
            data.Put(pb.PutRequest(collection=collection, id="x", json=b"{}"))
    (record,) = until_recorded(api, actor=key_id)
    assert (record["action"], record["code"]) == ("document.put", "forbidden")
    assert (record["collection"], record["id"]) == (collection, "x")


def test_figures_that_a_connection_is_refused_are_recorded(node, api, make_key):
    headers, key_id = make_key("documents:read")
    with opened(node, headers) as socket:
        assert Talk(socket).ask(type="metrics")["type"] == "error"
    (record,) = until_recorded(api, actor=key_id)
    assert (record["action"], record["code"]) == ("cluster.stats", "forbidden")


def test_what_another_protocol_forbids_is_recorded_too(node, api, make_key, collection):
    headers, key_id = make_key("documents:read")
    with opened(node, headers) as socket:
        frame = {"collection": collection, "document_id": "x", "document": {}}
        assert Talk(socket).ask(type="put", **frame)["type"] == "error"
    (record,) = until_recorded(api, actor=key_id)
    assert (record["action"], record["code"]) == ("document.put", "forbidden")


def test_only_auditors_and_administrators_read_the_log(api, make_key):
    auditor, _ = make_key("audit:read")
    assert api.get("/audit", headers=auditor).status_code == 200
    problem(api.put("/audit", json={"level": "full"}, headers=auditor), 403, "forbidden")
    other, _ = make_key("cluster:read", "documents:read")
    problem(api.get("/audit", headers=other), 403, "forbidden")


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=1001",
        "order=up",
        "since=then",
        "from=-1",
        "format=csv",
        "proof=x",
        "consistency=bounded",
    ],
)
def test_questions_out_of_bounds_are_refused(api, query):
    problem(api.get(f"/audit?{query}"), 422, "invalid")


def test_settings_are_checked_and_changes_of_them_recorded(api):
    problem(api.put("/audit", json={"level": "silent"}), 422, "invalid")
    problem(api.put("/audit", json={"loudness": 3}), 422, "invalid")
    answer = api.put("/audit", json={"records_max": 500_000})
    assert answer.json()["records_max"] == 500_000
    (record,) = newest(api, action="audit.put", limit=1)
    assert json.loads(record["detail"]) == {"records_max": 500_000}


def test_times_and_sequences_choose_records(api, collection):
    sequence = int(api.put(f"/collections/{collection}").headers["Aerolith-Sequence"])
    (record,) = newest(api, **{"from": sequence, "to": sequence})
    at = record["at"]
    assert record in newest(api, since=at)
    assert record not in newest(api, until=at)
    assert record in newest(api, since=at.replace("Z", "+00:00"))


def test_pages_follow_each_other_and_lines_are_lines(api):
    for number in range(3):
        api.put(f"/collections/paged-{number}")
    first = api.get("/audit?limit=2").json()
    then = api.get(f"/audit?limit=2&after={first['next']}").json()
    assert [record["index"] for record in first["records"] + then["records"]] == [1, 2, 3, 4]
    lines = api.get("/audit?limit=2&format=ndjson")
    assert lines.headers["Aerolith-Next"] == first["next"]
    *records, end = map(json.loads, lines.text.splitlines())
    assert records == first["records"]
    assert end["chain"]["first"] == 1


@pytest.fixture
def exported(node, api, collection) -> list[bytes]:
    api.put(f"/collections/{collection}")
    with Client(node.urls, node.api_key) as client:
        return [json.dumps(line).encode() for line in client.audit_export()]


def test_an_export_proves_itself_offline(node, exported, tmp_path, capsys):
    file, anchor = tmp_path / "audit.ndjson", tmp_path / "anchor.json"
    file.write_bytes(b"\n".join(exported))
    from dataplane.client.anchors import dump_anchor

    anchor.write_bytes(dump_anchor(node.anchor))
    assert main(["verify-audit", str(file), "--anchor", str(anchor)]) == 0
    out = capsys.readouterr().out
    assert "complete and unaltered" in out
    assert "every record that the cluster keeps" in out
    file.write_bytes(b"\n".join([*exported[:1], *exported[2:]]))
    assert main(["verify-audit", str(file), "--anchor", str(anchor)]) == 1
    assert "NOT PROVEN. gap" in capsys.readouterr().out


def changed(line: bytes, **fields: object) -> bytes:
    return json.dumps({**json.loads(line), **fields}).encode()


def test_whatever_is_done_to_the_file_is_found(node, exported):
    *records, end = exported
    other = TrustAnchor.of_keys(node.anchor.cluster_id, 0, [(0, "11" * 32)])
    cases = {
        "gap": [
            [*records[:-1], end],
            [records[0], *records[2:], end],
            [end],
        ],
        "altered": [
            [changed(records[0], actor="mallory"), *records[1:], end],
            [changed(records[0], at="2020-01-01T00:00:00.000000Z"), *records[1:], end],
            [changed(records[0], previous="00" * 31 + "01"), *records[1:], end],
            [changed(records[0], hash="00" * 32), *records[1:], end],
        ],
        "malformed": [records, [b"{}", end], [b"[]", end], [changed(records[0], status="x"), end]],
    }
    for code, files in cases.items():
        for lines in files:
            with pytest.raises(ProofError) as refused:
                verify_audit(lines, node.anchor)
            assert refused.value.code == code
    with pytest.raises(ProofError, match="signature"):
        verify_audit(exported, other)


def forged(records: list[bytes], *, whole: bool) -> list[bytes]:
    """Change the first record and hash it anew, or all that follow it too."""
    previous, result = bytes.fromhex(json.loads(records[0])["previous"]), []
    for number, line in enumerate(records):
        shown = json.loads(line)
        if number == 0:
            shown["actor"] = "mallory"
        elif not whole:
            result.append(line)
            continue
        digests = {name: shown[name] and bytes.fromhex(shown[name]) for name in ("before", "after")}
        fields = {name: shown[name] for name in AuditRecord.__struct_fields__}
        record = AuditRecord(**fields | digests)
        shown["previous"] = previous.hex()
        previous = hash_record(previous, record)
        shown["hash"] = previous.hex()
        result.append(json.dumps(shown).encode())
    return result


def test_a_forger_who_hashes_anew_is_found_too(node, exported):
    *records, end = exported
    for whole, code in ((False, "altered"), (True, "other_head")):
        with pytest.raises(ProofError) as refused:
            verify_audit([*forged(records, whole=whole), end], node.anchor)
        assert refused.value.code == code


def test_a_part_of_the_log_is_proven_as_a_part(node, exported):
    proven = verify_audit(exported[2:], node.anchor)
    assert (proven.first, proven.is_whole) == (3, False)
    assert "not in the file" in proven.in_words()


def test_one_answer_with_its_proof_is_a_file_too(node, api):
    last = api.get("/audit?order=desc&limit=3&proof=true").content
    assert verify_audit([last], node.anchor).count == 3
    held = api.get("/audit?order=desc&limit=3&proof=true&consistency=local").content
    assert verify_audit([held], node.anchor).kind in {"checkpoint", "seal"}


async def test_the_asyncio_client_exports_the_same(node, exported):
    async with AsyncClient(node.urls, node.api_key) as client:
        await client.audit_put(records_max=400_000)
        lines = [json.dumps(line).encode() async for line in client.audit_export()]
        page = await client.audit(action="audit.put", order="desc", limit=1)
    assert lines[: len(exported) - 1] == exported[:-1]
    assert verify_audit(lines, node.anchor).is_whole
    assert page["records"][0]["action"] == "audit.put"


class Log:
    is_forensic = True


class View:
    audit = Log()


@pytest.fixture
def alice():
    token = CALLING.set("alice")
    yield
    CALLING.reset(token)


@pytest.mark.usefixtures("alice")
def test_what_cannot_be_written_down_is_not_read(monkeypatch):
    monkeypatch.setattr("dataplane.gateways.auditing.WAITING_MAX", 2)
    reporter = AuditReporter(View(), lambda size: b"k" * size)
    for number in range(2):
        with reporter.reading(Seen("document.read", "c", f"d{number}")):
            pass
    with pytest.raises(Problem) as refused, reporter.reading(Seen("document.read")):
        raise AssertionError("it was read")
    assert refused.value.code == "audit_backlog"
    report = reporter.take_report()
    assert report is not None
    assert reporter.take_report() == report, "nobody knows whether it was recorded: it goes again"
    operation = decode_op(report)
    assert isinstance(operation, ReportAudit)
    assert [event.id for event in operation.events] == ["d0", "d1"]
    reporter.reported()
    assert reporter.take_report() is None
