"""Transactions over HTTP: who may, what is refused before it is ordered, and what comes back."""

import httpx
import pytest

from dataplane.documents.transactions import STEPS_MAX
from dataplane.gateways.services.transactions import FILTERS_MAX
from tests.dataplane.gateways.conftest import problem


def transact(api: httpx.Client, *operations: object, **options: object) -> httpx.Response:
    return api.post("/transactions", json={"operations": operations}, **options)


@pytest.fixture
def at(collection: str):
    """Make an operation in the collection of the test."""

    def make(op: str, document_id: str | None = None, **fields: object) -> dict[str, object]:
        named = {} if document_id is None else {"id": document_id}
        return {"op": op, "collection": collection, **named, **fields}

    return make


def test_all_operations_are_done_at_one_place(api: httpx.Client, at, documents: str) -> None:
    api.put(f"{documents}/old", json={"n": 1, "kind": "a"})
    response = transact(
        api,
        at("check", "old", exists=True, version=1, filter={"kind": "a"}),
        at("check", "new", exists=False),
        at("update", "old", document={"$inc": {"n": 1}}, if_version=1),
        at("create", document={"made": True}),
        at("put", "new", document={"n": 0}),
        at("patch", "new", document={"m": 1}),
        at("get", "new"),
        at("delete", "old", if_version=2),
    )
    assert response.status_code == 200, response.text
    results = response.json()["results"]
    assert [item["status"] for item in results] == [200, 200, 200, 201, 201, 200, 200, 204]
    assert [item.get("version") for item in results] == [1, None, 2, 1, 1, 2, 2, None]
    assert {"n": 0, "m": 1, "_id": "new", "_version": 2}.items() <= results[6]["document"].items()
    assert api.get(f"{documents}/{results[3]['id']}").json()["made"] is True
    problem(api.get(f"{documents}/old"), 404, "not_found")
    assert int(response.headers["aerolith-sequence"]) > 0


def test_a_failure_names_the_operation_and_its_cause(api: httpx.Client, at, documents: str) -> None:
    api.put(f"{documents}/x", json={"n": 1})
    body = problem(
        transact(api, at("put", "y", document={}), at("put", "x", document={}, if_version=9)),
        409,
        "conflict",
    )
    assert body["index"] == 1
    assert body["cause"] == {
        "status": 412,
        "code": "precondition_failed",
        "detail": "another version is current",
        "version": 1,
    }
    problem(api.get(f"{documents}/y"), 404, "not_found")
    for filter_ in ({"n": 2}, {"n": {"$gt": 1}}):
        body = problem(transact(api, at("check", "x", filter=filter_)), 409, "conflict")
        assert body["cause"]["detail"] == "the document does not fit the filter"
    body = problem(transact(api, at("check", "none", filter={})), 409, "conflict")
    assert body["cause"]["code"] == "precondition_failed"


def test_a_retry_gets_the_first_outcome(api: httpx.Client, at, documents: str) -> None:
    api.put(f"{documents}/x", json={"n": 1})
    headers = {"Idempotency-Key": f"once-{documents}"}
    operations = (
        at("check", "x", filter={"n": 1}),
        at("create", document={}),
        at("put", "x", document={"n": 2}),
    )
    first = transact(api, *operations, headers=headers)
    assert first.status_code == 200
    assert transact(api, *operations, headers=headers).json() == first.json()
    other = transact(api, operations[1], headers=headers)
    problem(other, 422, "idempotency_key_reused")


@pytest.mark.parametrize(
    ("operation", "pointer"),
    [
        ("x", "/operations/1"),
        ({"op": "put", "id": "x", "document": {}}, "/operations/1/collection"),
        ({"op": "move", "collection": "a", "id": "x"}, "/operations/1/op"),
        ({"op": "put", "collection": "a", "document": {}}, "/operations/1/id"),
        ({"op": "put", "collection": "a", "id": "x"}, "/operations/1/document"),
        ({"op": "put", "collection": "NO", "id": "x", "document": {}}, "/operations/1/collection"),
        ({"op": "put", "collection": "a", "id": "x/", "document": {}}, "/operations/1/_id"),
        ({"op": "put", "collection": "a", "id": "x", "document": {"_a": 1}}, "/operations/1/_a"),
        ({"op": "delete", "collection": "a", "id": "x", "stamp": "s"}, "/operations/1/stamp"),
        ({"op": "get", "collection": "a", "id": "x", "more": 1}, "/operations/1"),
        ({"op": "get", "collection": "a", "id": "x", "version": 1}, "/operations/1"),
        ({"op": "check", "collection": "a", "id": "x"}, "/operations/1"),
        (
            {"op": "check", "collection": "a", "id": "x", "exists": False, "version": 1},
            "/operations/1/exists",
        ),
        (
            {"op": "check", "collection": "a", "id": "x", "filter": {"$no": 1}},
            "/operations/1/filter/$no",
        ),
        ({"op": "check", "collection": "a", "id": "w", "filter": {}}, "/operations/1/filter"),
    ],
)
def test_what_is_not_well_formed_is_refused_with_pointers(
    api: httpx.Client, operation: object, pointer: str
) -> None:
    first = {"op": "put", "collection": "a", "id": "w", "document": {}}
    body = problem(transact(api, first, operation), 422, "invalid")
    assert body["errors"][0]["pointer"] == pointer


def test_a_transaction_is_bounded(api: httpx.Client, at) -> None:
    problem(transact(api), 422, "invalid")
    problem(api.post("/transactions", json={"operations": [], "more": 1}), 422, "invalid")
    problem(transact(api, *[at("get", "x")] * (STEPS_MAX + 1)), 413, "too_large")
    filters = [at("check", "x", filter={})] * (FILTERS_MAX + 1)
    problem(transact(api, *filters), 413, "too_large")
    large = at("put", "x", document={"text": "x" * 700_000})
    problem(transact(api, large, large), 413, "too_large")
    problem(transact(api, at("put", "x", document={}), headers={"Content-Type": "a/b"}), 415,
            "unsupported_media_type")  # fmt: skip


def test_every_collection_must_be_open_to_the_key(
    api: httpx.Client, make_key, at, collection: str
) -> None:
    mine, other = f"{collection}-mine", f"{collection}-other"
    headers, _ = make_key("documents:write", collections=[mine])
    write = {"op": "put", "collection": mine, "id": "x", "document": {}}
    assert transact(api, write, headers=headers).status_code == 200
    for refused in (
        {**write, "collection": other},
        {"op": "get", "collection": mine, "id": "x"},
        {"op": "check", "collection": mine, "id": "x", "exists": True},
    ):
        problem(transact(api, write, refused, headers=headers), 403, "forbidden")


def test_a_feed_tells_a_transaction_as_one(api: httpx.Client, at, collection: str) -> None:
    before = api.get("/collections").headers["aerolith-sequence"]
    transact(api, at("put", "x", document={}), at("get", "x"), at("put", "y", document={}))
    params = {"collection": collection, "after": before, "include": "none"}
    with api.stream("GET", "/changes", params=params) as response:
        lines = response.iter_lines()
        data = [line for line, _ in zip(lines, range(9), strict=False) if line.startswith("data")]
    assert len(data) == 2
    assert all('"transaction":{"first":0,"count":2}' in line for line in data)
