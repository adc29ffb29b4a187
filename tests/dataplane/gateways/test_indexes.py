"""Indexes over HTTP: made, built in a quiet cluster, listed, dropped, and who may."""

import time

import pytest

from dataplane.client.client import Client
from dataplane.client.local import LocalCluster
from tests.dataplane.gateways.conftest import problem

WAIT_S = 20


@pytest.fixture
def places(api, collection) -> str:
    items = [
        {"op": "put", "id": f"p{n:04}", "document": {"city": f"c{n % 9}", "n": n}}
        for n in range(900)
    ]
    answer = api.post(f"/collections/{collection}/bulk", json={"operations": items})
    assert answer.status_code == 200
    return f"/collections/{collection}"


def until(api, path, holds):
    """Ask again until the answer is as wanted: the cluster works by itself meanwhile."""
    deadline = time.perf_counter() + WAIT_S
    while not holds(body := api.get(path).json()):
        assert time.perf_counter() < deadline, body
    return body


def test_an_index_is_built_by_a_quiet_cluster_listed_and_dropped(api, places):
    definition = {"fields": {"city": 1, "n": -1}, "partial": {"n": {"$gte": 100}}}
    made = api.put(f"{places}/indexes/by-city", json=definition)
    assert made.status_code == 201
    assert made.json()["state"] == "building"
    assert made.json()["progress"] == {"documents": 0, "of": 900}
    built = until(api, f"{places}/indexes/by-city", lambda body: body["state"] != "building")
    assert built["state"] == "ready"
    assert built["entries"] == 800
    assert list(built["fields"].items()) == [("city", 1), ("n", -1)]
    assert built["partial"] == definition["partial"]
    assert api.put(f"{places}/indexes/by-city", json=definition).status_code == 200
    changed = api.put(f"{places}/indexes/by-city", json={"fields": {"city": 1}})
    problem(changed, 409, "conflict")
    assert [found["name"] for found in api.get(f"{places}/indexes").json()["indexes"]] == [
        "by-city"
    ]
    assert api.delete(f"{places}/indexes/by-city").status_code == 204
    problem(api.get(f"{places}/indexes/by-city"), 404, "not_found")
    assert api.get(f"{places}/indexes").json() == {"indexes": []}


def test_a_unique_index_refuses_writes_by_name_and_a_failed_build_says_which_clash(api, places):
    api.put(f"{places}/indexes/n", json={"fields": {"n": 1}, "unique": True})
    api.put(f"{places}/indexes/city", json={"fields": {"city": 1}, "unique": True})
    failed = until(api, f"{places}/indexes/city", lambda body: body["state"] != "building")
    assert failed["failure"]["ids"] == ["p0009", "p0000"]
    until(api, f"{places}/indexes/n", lambda body: body["state"] == "ready")
    refused = api.put(f"{places}/documents/new", json={"n": 7})
    body = problem(refused, 409, "conflict")
    assert body["errors"] == [{"pointer": "/n", "detail": body["detail"]}]
    assert body["detail"] == "index n is unique, and document p0007 has the same value"


def test_documents_of_a_collection_with_ttl_go_by_themselves(api, collection):
    path = f"/collections/{collection}"
    assert api.put(path, json={"ttl": 0}).status_code == 201
    assert api.put(f"{path}/documents/a", json={}).status_code == 201
    until(api, "/collections", lambda body: not counted(body, collection))
    problem(api.get(f"{path}/documents/a"), 404, "not_found")
    problem(api.put(path, json={"ttl": "soon"}), 422, "invalid")


def counted(body, collection):
    return next(c["documents"] for c in body["collections"] if c["name"] == collection)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/fields"),
        ({"fields": {"a": 1}, "more": 1}, "/more"),
        ({"fields": {"a": 0}}, "/fields/a"),
        ({"fields": {"a": 1}, "unique": 1}, "/unique"),
        ({"fields": {"a": 1}, "partial": {"a": {"$regex": "x"}}}, "/partial/a/$regex"),
        ({"fields": {"a": 1, "b": 1}, "expire_after_s": 1}, "/expire_after_s"),
    ],
)
def test_what_makes_no_index_is_refused_with_a_pointer(api, collection, body, pointer):
    api.put(f"/collections/{collection}", json={})
    answer = api.put(f"/collections/{collection}/indexes/i", json=body)
    assert problem(answer, 422, "invalid")["errors"][0]["pointer"] == pointer


def test_indexes_are_for_those_who_administrate_the_collection(api, places, make_key, collection):
    reader, _ = make_key("documents:read", "documents:write")
    body = {"fields": {"n": 1}}
    problem(api.put(f"{places}/indexes/n", json=body, headers=reader), 403, "forbidden")
    problem(api.delete(f"{places}/indexes/n", headers=reader), 403, "forbidden")
    assert api.get(f"{places}/indexes", headers=reader).status_code == 200
    other, _ = make_key("documents:read", "collections:admin", collections=["other-*"])
    problem(api.get(f"{places}/indexes", headers=other), 403, "forbidden")
    problem(api.put(f"{places}/indexes/n", json=body, headers=other), 403, "forbidden")
    problem(api.get("/collections/nothing/indexes"), 404, "not_found")


def test_the_advisor_proposes_an_index_and_shows_what_it_did(api, places, make_key):
    body = {"filter": {"city": "c3"}, "sort": {"n": -1}, "limit": 5}
    for _ in range(5):
        expected = api.post(f"{places}/query", json=body).json()["documents"]
    advice = api.get(f"{places}/advisor").json()
    (proposal,) = advice["proposals"]
    assert list(proposal["fields"].items()) == [("city", 1), ("n", -1)]
    assert "c3" not in str(advice)
    api.put(f"{places}/indexes/suited", json={"fields": proposal["fields"]})
    until(api, f"{places}/indexes/suited", lambda found: found["state"] == "ready")
    answer = api.post(f"{places}/query", json={**body, "explain": True}).json()
    assert answer["documents"] == expected
    assert (answer["plan"]["index"], answer["plan"]["order"]) == ("suited", "index_order")
    advice = api.get(f"{places}/advisor").json()
    assert advice["proposals"] == []
    assert [effect["index"] for effect in advice["effects"]] == ["suited"]
    usage = api.get(f"{places}/indexes/suited").json()["usage"]
    assert usage == {"used": 1, "keys_examined": answer["plan"]["keys_examined"]}
    stranger, _ = make_key("documents:read", collections=["other-*"])
    problem(api.get(f"{places}/advisor", headers=stranger), 403, "forbidden")


def test_the_client_makes_lists_and_drops_indexes(node: LocalCluster, places, collection):
    with Client(node.urls, node.api_key) as client:
        client.index_put(collection, "n", {"n": 1}, sparse=True)
        assert client.index_get(collection, "n")["sparse"] is True
        assert [found["name"] for found in client.indexes(collection)] == ["n"]
        client.index_drop(collection, "n")
        assert client.indexes(collection) == []
