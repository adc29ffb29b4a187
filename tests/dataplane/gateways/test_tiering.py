"""Cold documents over HTTP: nobody who reads or writes has to know where a body is."""

import io
from types import SimpleNamespace

import httpx
import msgspec
import pytest
import zstandard

from dataplane.client.backups import BackupReader, verify_backup
from dataplane.client.errors import BackupError
from dataplane.client.spec import ArchiveSpec
from dataplane.documents.errors import Refusal
from dataplane.gateways.services.cluster import require_archive
from dataplane.wire.backups import MAGIC, MEDIA_TYPE, Rows, encode_records
from tests.dataplane.gateways.test_indexes import until
from tests.processes.conftest import wait_ready

TEXT = "x" * 200
UPDATE = "application/vnd.aerolith.update+json"


@pytest.fixture
def cold(api, collection) -> str:
    """Return the path of a collection of ten documents that are all cold."""
    path = f"/collections/{collection}"
    assert api.put(path, json={"tiering": {"cold_after_s": 1}}).status_code == 201
    items = [
        {"op": "put", "id": f"d{n}", "document": {"n": n, "text": TEXT, "who": "p"}}
        for n in range(10)
    ]
    assert api.post(f"{path}/bulk", json={"operations": items}).status_code == 200
    until_cold(api, path, 10)
    # What is read now stays for as long as these tests take.
    assert api.put(path, json={"tiering": {"cold_after_s": 3600}}).status_code == 200
    return path


def until_cold(api, path, count):
    """Wait until so many documents are cold; return the collection."""

    def of(body):
        return next(found for found in body["collections"] if path.endswith("/" + found["name"]))

    return of(
        until(
            api,
            "/collections",
            lambda body: of(body)["tiers"]["distributed"]["documents"] == count,
        )
    )


def test_a_collection_tells_how_much_of_it_is_where(api, cold):
    body = until_cold(api, cold, 10)
    assert body["documents"] == 10
    assert body["tiers"]["ssd"] == {"documents": 0, "bytes": 20}
    assert body["tiers"]["distributed"]["documents"] == 10
    assert body["tiers"]["archive"] == {"documents": 0, "bytes": 0}
    assert api.get("/stats").json()["bytes"]["distributed"] >= 2_000


@pytest.mark.parametrize("consistency", ["strong", "session", "bounded", "local"])
def test_a_cold_document_is_read_like_any_other_and_comes_back(api, cold, consistency):
    answer = api.get(f"{cold}/documents/d3", params={"consistency": consistency})
    assert answer.status_code == 200
    body = answer.json()
    assert (body["n"], body["text"], body["_version"]) == (3, TEXT, 1)
    until_cold(api, cold, 9)
    again = api.get(f"{cold}/documents/d3")
    assert again.json() == body
    assert again.headers["etag"] == answer.headers["etag"]


def test_a_cold_document_is_proven_once_it_is_back(api, cold):
    body = api.get(f"{cold}/documents/d1", params={"proof": "true"}).json()
    assert body["text"] == TEXT
    assert body["_proof"]["document"] is not None


def test_a_change_of_a_cold_document_is_done_once(api, cold):
    headers = {"Idempotency-Key": f"key-{cold}"}
    for _ in range(2):
        answer = api.patch(
            f"{cold}/documents/d2",
            content=b'{"$inc": {"n": 1}}',
            headers=headers | {"Content-Type": UPDATE},
        )
        assert answer.status_code == 200, answer.text
        assert (answer.json()["_version"], answer.json()["n"]) == (2, 3)


def test_a_bulk_of_cold_and_other_documents_keeps_its_order(api, cold):
    operations = [
        {"op": "patch", "id": "d4", "document": {"m": 1}},
        {"op": "put", "id": "d4", "document": {"last": True}},
        {"op": "patch", "id": "d5", "document": {"m": 1}},
        {"op": "delete", "id": "d6"},
        {"op": "put", "id": "new", "document": {"a": 1}},
    ]
    answer = api.post(f"{cold}/bulk", json={"operations": operations})
    assert [item["status"] for item in answer.json()["results"]] == [200, 200, 200, 204, 201]
    assert api.get(f"{cold}/documents/d4").json()["last"] is True
    assert api.get(f"{cold}/documents/d5").json()["n"] == 5


def test_a_transaction_over_cold_documents_is_done_as_a_whole(api, cold):
    name = cold.rsplit("/", 1)[1]
    operations = [
        {"op": "check", "collection": name, "id": "d7", "filter": {"n": 7}},
        {"op": "patch", "collection": name, "id": "d8", "document": {"m": 1}},
        {"op": "get", "collection": name, "id": "d9"},
    ]
    answer = api.post("/transactions", json={"operations": operations})
    assert answer.status_code == 200, answer.text
    assert answer.json()["results"][2]["document"]["text"] == TEXT


def test_questions_find_cold_documents(api, cold):
    found = api.post(f"{cold}/query", json={"filter": {"n": {"$gte": 7}}, "sort": {"n": -1}})
    assert [document["n"] for document in found.json()["documents"]] == [9, 8, 7]
    pipeline = [{"$group": {"_id": None, "sum": {"$sum": "$n"}}}]
    total = api.post(f"{cold}/aggregate", json={"pipeline": pipeline})
    assert total.json()["documents"][0]["sum"] == 45
    assert until_cold(api, cold, 10), "a scan puts nothing back"


def test_an_index_of_cold_documents_is_built_and_answers(api, cold):
    assert api.put(f"{cold}/indexes/n", json={"fields": {"n": 1}}).status_code == 201
    built = until(api, f"{cold}/indexes/n", lambda body: body["state"] != "building")
    assert (built["state"], built["entries"]) == ("ready", 10)
    found = api.post(f"{cold}/query", json={"filter": {"n": 4}, "explain": True}).json()
    assert [document["_id"] for document in found["documents"]] == ["d4"]
    assert found["plan"]["stage"] == "index_scan"


def test_deleting_leaves_no_bytes_in_any_tier(api, cold):
    before = api.get("/stats").json()["bytes"]["distributed"]
    operations = [{"op": "delete", "id": f"d{n}"} for n in range(10)]
    answer = api.post(f"{cold}/bulk", json={"operations": operations})
    assert {item["status"] for item in answer.json()["results"]} == {204}
    assert api.get("/stats").json()["bytes"]["distributed"] <= before - 2_000


def test_what_is_left_of_a_segment_is_put_together_anew(api, cold):
    operations = [{"op": "delete", "id": f"d{n}"} for n in range(7)]
    assert api.post(f"{cold}/bulk", json={"operations": operations}).status_code == 200
    until_cold(api, cold, 0)
    assert api.get(f"{cold}/documents/d8").json()["n"] == 8


def test_an_erasure_is_over_when_the_segments_of_what_was_erased_are_made_anew(api, collection):
    path, ada = f"/collections/{collection}", f"ada-{collection}"
    policy = {"tiering": {"cold_after_s": 1}, "subject": "who"}
    assert api.put(path, json=policy).status_code == 201
    items = [
        {"op": "put", "id": f"d{n}", "document": {"who": (ada, "bob")[n % 2], "text": TEXT}}
        for n in range(10)
    ]
    assert api.post(f"{path}/bulk", json={"operations": items}).status_code == 200
    until_cold(api, path, 10)
    policy["tiering"]["cold_after_s"] = 3600
    assert api.put(path, json=policy).status_code == 200
    assert api.get(f"{path}/documents/d2").json()["who"] == ada
    until_cold(api, path, 9)

    asked = {"subject": ada}
    answer = api.post("/subjects/erase", json=asked)
    for _ in range(10):
        if answer.status_code == 200:
            break
        assert (answer.status_code, answer.json()["is_over"]) == (202, False), answer.text
        asked["erasure"] = answer.json()["erasure"]
        answer = api.post("/subjects/erase", json=asked)
    receipt = answer.json()
    assert (receipt["is_over"], receipt["segments_left"]) == (True, 0)
    assert receipt["removed"] == {collection: 5}
    body = until_cold(api, path, 0)
    assert (body["documents"], body["tiers"]["ssd"]["documents"]) == (5, 5), "the others are back"
    assert api.get(f"{path}/documents/d3").json()["text"] == TEXT
    # Other tests look for nobody here; and what is dropped has others begin at later versions.
    assert api.put(path, json={}).status_code == 200


def test_a_node_that_is_killed_has_its_cold_documents_afterwards(make_node):
    node = make_node()
    headers = {"Authorization": f"Bearer {node.api_key}"}
    url = f"{node.urls[0]}/api/v1"
    with httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=20) as api:
        assert api.put("/collections/c", json={"tiering": {"cold_after_s": 1}}).status_code == 201
        for n in range(3):
            api.put(f"/collections/c/documents/d{n}", json={"n": n, "text": TEXT})
        until_cold(api, "/collections/c", 3)
        node.kill()
        node.start()
        wait_ready(node)
        assert api.get("/collections/c/documents/d1").json()["text"] == TEXT
        found = api.post("/collections/c/query", json={"sort": {"_id": 1}}).json()["documents"]
        assert [document["n"] for document in found] == [0, 1, 2]


def test_a_backup_has_the_bodies_of_cold_documents_and_a_restore_brings_them_back(
    api, node, cold, make_node
):
    file = api.get("/backup").content
    until_cold(api, cold, 10)
    verified = verify_backup([io.BytesIO(file)], node.anchor)
    assert verified.is_whole
    empty = make_node()
    headers = {"Authorization": f"Bearer {empty.api_key}"}
    kind = {"Content-Type": MEDIA_TYPE}
    with httpx.Client(base_url=f"{empty.urls[0]}/api/v1", headers=headers, trust_env=False) as into:
        answer = into.post("/restore", content=file, headers=kind, timeout=60)
        assert answer.json()["restore"]["state"] == "done", answer.text
        found = into.post(f"{cold}/query", json={"sort": {"_id": 1}}).json()["documents"]
        assert [document["n"] for document in found] == list(range(10))
        assert {document["text"] for document in found} == {TEXT}
    for change in (lambda bodies: bodies[:-1], lambda bodies: (bodies[0] + b"x", *bodies[1:])):
        with pytest.raises(BackupError):
            verify_backup([io.BytesIO(changed(file, change))], node.anchor)


def changed(file: bytes, change) -> bytes:
    """Return a backup with the bodies of a record of it changed."""
    reader = BackupReader(io.BytesIO(file))
    records = [
        msgspec.structs.replace(record, bodies=change(record.bodies))
        if isinstance(record, Rows) and record.bodies
        else record
        for record in reader.records()
    ]
    packed = zstandard.compress(encode_records([reader.head, *records]))
    return MAGIC + packed


def test_a_policy_for_an_archive_is_refused_where_there_is_none(api, collection):
    path, pointer = f"/collections/{collection}", "/tiering/archive_after_s"
    for tiering in ({"archive_after_s": 60}, {"cold_after_s": 30, "archive_after_s": 60}):
        answer = api.put(path, json={"tiering": tiering})
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid")
        assert "no archive" in answer.json()["detail"]
        assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]


@pytest.mark.parametrize("is_encrypted", [False, True])
def test_what_is_not_sealed_does_not_leave_the_cluster(is_encrypted):
    context = SimpleNamespace(
        spec=SimpleNamespace(archive=ArchiveSpec("https://host", "bucket")),
        encryption=SimpleNamespace(describe=lambda: {"enabled": is_encrypted}),
    )
    if is_encrypted:
        require_archive(context)
        return
    with pytest.raises(Refusal, match="encrypted first") as refused:
        require_archive(context)
    assert refused.value.code == "invalid"
