"""Backups and restores over REST, of one real node."""

import io

import httpx
import pytest

from dataplane.client.archives import Deciders, batches_after, fetch_batches
from dataplane.client.backups import BackupReader, verify_backup
from dataplane.client.client import Client
from dataplane.client.errors import ApiError
from dataplane.client.local import LocalCluster
from dataplane.client.restores import announcement, begin, finish, parts_of, send_part
from dataplane.wire.backups import MEDIA_TYPE
from tests.dataplane.gateways.conftest import problem


def test_a_backup_holds_everything_acknowledged_before_it(api, node, documents):
    stored = api.put(f"{documents}/one", json={"n": 1}).json()
    answer = api.get("/backup")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == MEDIA_TYPE
    verified = verify_backup([io.BytesIO(answer.content)], node.anchor)
    assert verified.is_whole
    assert verified.head.certificate.sequence >= int(answer.headers["aerolith-sequence"])
    assert stored["_version"] == 1
    assert answer.headers["aerolith-backup"].endswith(verified.contents.root.hex())


@pytest.mark.parametrize("at", ["now", "checkpoint"])
def test_a_backup_that_is_never_sent_gives_back_its_state_and_its_place(api, documents, at):
    for n in range(130):
        api.put(f"{documents}/d{n}", json={})
    for _ in range(3):
        assert api.head(f"/backup?at={at}").status_code == 200
    assert api.get(f"/backup?at={at}").status_code == 200


def test_an_increment_has_only_what_changed(api, node, documents):
    for number in range(3):
        operations = [
            {"op": "put", "id": f"d{number}-{n}", "document": {"text": "x" * 200, "n": n}}
            for n in range(300)
        ]
        path = documents.removesuffix("/documents") + "/bulk"
        assert api.post(path, json={"operations": operations}).status_code == 200
    first = api.get("/backup").content
    known = verify_backup([io.BytesIO(first)], node.anchor).contents.known
    api.put(f"{documents}/d0-1", json={"n": "changed"})
    kind = {"Content-Type": "application/octet-stream"}
    answer = api.post("/backup", content=known, headers=kind)
    assert answer.status_code == 200
    assert len(answer.content) < len(first) / 2
    together = verify_backup([io.BytesIO(first), io.BytesIO(answer.content)], node.anchor)
    assert together.is_whole
    problem(api.post("/backup", content=b"odd", headers=kind), 422, "invalid")
    problem(api.post("/backup", json={}), 415, "unsupported_media_type")


def test_only_a_key_that_covers_everything_takes_backups_or_restores(api, make_key):
    for scopes, options in (
        (("documents:read", "cluster:read"), {}),
        (("cluster:admin",), {"collections": ["some-*"]}),
    ):
        headers, _ = make_key(*scopes, **options)
        problem(api.get("/backup", headers=headers), 403, "forbidden")
        problem(api.get("/restore", headers=headers), 403, "forbidden")
        problem(api.delete("/restore", headers=headers), 403, "forbidden")


def test_a_cluster_that_is_not_empty_refuses_a_restore(api, documents):
    api.put(f"{documents}/one", json={})
    kind = {"Content-Type": MEDIA_TYPE}
    problem(api.post("/restore", content=api.get("/backup").content, headers=kind), 409, "conflict")
    problem(api.post("/restore", content=b"nothing", headers=kind), 422, "invalid")
    problem(api.put("/restore", json={"id": "zz"}), 422, "invalid")
    problem(api.post("/restore/finish?id=00"), 404, "not_found")
    problem(api.post("/restore/parts?id=00", content=b"x"), 415, "unsupported_media_type")
    assert api.get("/restore").json() == {"restore": {"state": "none"}}


@pytest.fixture
def empty(make_node) -> LocalCluster:
    return make_node()


def test_a_whole_backup_can_be_posted_into_an_empty_cluster(api, node, documents, empty):
    stored = api.put(f"{documents}/one", json={"n": 1}).json()
    file = api.get("/backup").content
    headers = {"Authorization": f"Bearer {empty.api_key}", "Content-Type": MEDIA_TYPE}
    with httpx.Client(base_url=f"{empty.urls[0]}/api/v1", headers=headers, trust_env=False) as into:
        restored = into.post("/restore", content=file, timeout=60).json()["restore"]
        assert restored["state"] == "done"
        assert restored["source"]["cluster_id"] == node.cluster_id
        assert into.get(f"{documents}/one").json() == stored


def test_documents_are_not_served_while_parts_arrive(api, node, documents, empty):
    api.put(f"{documents}/one", json={"n": 1})
    file = api.get("/backup").content
    verified = verify_backup([io.BytesIO(file)], node.anchor)
    announced = announcement(verified.head, verified.contents)
    name = "ab" * 16
    collection = documents.split("/")[2]
    with Client(empty.urls, empty.api_key) as client:
        client.run(begin(name, announced, replace=False))
        for action in (
            lambda: client.get(collection, "one"),
            lambda: client.put(collection, "one", {}),
            lambda: client.query(collection),
            client.collections,
        ):
            with pytest.raises(ApiError) as refused:
                action()
            assert refused.value.code == "restoring"
        assert client.stats()["documents"] == 0
        records = BackupReader(io.BytesIO(file)).records()
        for number, part in enumerate(parts_of(verified.contents, records)):
            client.run(send_part(name, number, part))
        assert client.run(finish(name))["restore"]["state"] == "done"
        assert client.get(collection, "one")["n"] == 1


def test_decided_batches_come_with_their_proofs_and_end_where_the_node_is(api, node, documents):
    api.put(f"{documents}/one", json={})
    deciders, last = Deciders(node.anchor), 0
    with Client(node.urls, node.api_key) as client:
        # A node keeps only the newest; the tests before this one may have ordered many.
        after = max(0, client.stats()["sequence"] - 300)
        for batches in fetch_batches(client.run, deciders, after, rounds_max=100):
            last = batches.entries[-1].certificate.sequence
        assert last >= client.stats()["sequence"] - 1
        assert client.run(batches_after(last + 1000))
    problem(api.get("/batches?after=x"), 422, "invalid")


def test_batches_are_for_those_who_may_see_everything(api, make_key):
    headers, _ = make_key("cluster:read", "documents:read")
    problem(api.get("/batches", headers=headers), 403, "forbidden")
