"""Conflict policies, kept conflicts and their resolution over HTTP."""

import pytest

from tests.dataplane.gateways.conftest import problem


@pytest.fixture
def policy(api, collection):
    def put(name: str) -> None:
        stored = api.put(f"/collections/{collection}", json={"conflict_policy": name})
        assert stored.is_success, stored.text
        assert stored.json()["options"] == {"conflict_policy": name}

    return put


@pytest.fixture
def x(api, documents):
    """Put the document x, then let somebody else change a field; return what was read before."""
    read = api.put(f"{documents}/x", json={"a": 1, "b": 1}).json()
    api.patch(f"{documents}/x", json={"a": 2})
    return read


def stale(read: dict) -> dict[str, str]:
    return {"If-Match": f'"{read["_version"]}"'}


def bulk(api, collection, key: str, **operation: object) -> dict:
    answer = api.post(
        f"/collections/{collection}/bulk",
        json={"operations": [operation]},
        headers={"Idempotency-Key": f"{collection} {key}"},
    )
    (result,) = answer.json()["results"]
    return result


def keep(api, collection, read: dict, key: str = "kept") -> dict:
    return bulk(
        api,
        collection,
        key,
        op="put",
        id="x",
        document={"a": 3, "b": 1},
        if_version=read["_version"],
        base=read,
        stamp="018bcfe56800-0000-laptop",
    )


def test_an_unknown_policy_is_refused(api, collection):
    path = f"/collections/{collection}"
    body = problem(api.put(path, json={"conflict_policy": "guess"}), 422, "invalid")
    assert body["errors"][0]["pointer"] == "/conflict_policy"


def test_lww_overwrites_and_says_what(api, documents, policy, x):
    policy("lww")
    answer = api.put(f"{documents}/x", json={"a": 9}, headers=stale(x))
    assert answer.status_code == 200
    assert answer.headers["Aerolith-Overwrote"] == str(x["_version"] + 1)
    assert "a" in answer.json()
    deleted = api.delete(f"{documents}/x", headers=stale(x))
    assert deleted.headers["Aerolith-Overwrote"] == str(x["_version"] + 2)


def test_merge_patch_merges_with_the_base_in_the_body(api, documents, policy, x):
    policy("merge_patch")
    answer = api.put(f"{documents}/x", json={"a": 1, "b": 5, "_base": x}, headers=stale(x))
    assert answer.status_code == 200
    assert answer.headers["Aerolith-Merged"] == str(x["_version"] + 1)
    merged = answer.json()
    assert (merged["a"], merged["b"]) == (2, 5)
    assert "_base" not in merged
    patch = {"b": 6, "_base": x}
    refused = api.patch(f"{documents}/x", json=patch, headers=stale(x))
    body = problem(refused, 412, "precondition_failed")
    assert body["version"] == x["_version"] + 2
    assert body["conflicts"] == [{"pointer": "/b", "base": 1, "mine": 6, "theirs": 5}]


@pytest.mark.parametrize(
    ("base", "condition", "pointer"),
    [
        ({"a": 1}, {}, "/_base"),
        ([1], {"If-Match": '"1"'}, "/_base"),
        ({"_version": 7}, {"If-Match": '"1"'}, "/_base/_version"),
        ({"_other": 7}, {"If-Match": '"1"'}, "/_other"),
    ],
)
def test_a_base_that_makes_no_sense_is_refused(api, documents, base, condition, pointer):
    answer = api.put(f"{documents}/x", json={"a": 1, "_base": base}, headers=condition)
    assert problem(answer, 422, "invalid")["errors"][0]["pointer"] == pointer


def test_a_base_too_large_to_travel_with_its_write_is_refused(api, documents):
    big = {"a": "x" * 600_000}
    answer = api.put(
        f"{documents}/x", json={**big, "_base": big}, headers={"If-Match": '"1"'}, timeout=30
    )
    problem(answer, 413, "too_large")


def test_a_bulk_item_tells_of_a_merge_with_the_document(api, collection, policy, x):
    policy("merge_patch")
    result = bulk(
        api,
        collection,
        "merged",
        op="update",
        id="x",
        document={"$inc": {"b": 10}},
        if_version=x["_version"],
        base=x,
    )
    assert (result["status"], result["merged"]) == (200, x["_version"] + 1)
    assert result["document"] == {"a": 2, "b": 11}


def test_a_conflict_is_kept_listed_read_and_settled(api, collection, documents, x):
    kept = keep(api, collection, x)
    assert (kept["status"], kept["code"]) == (412, "precondition_failed")
    assert keep(api, collection, x) == kept
    conflicts = f"/collections/{collection}/conflicts"
    listed = api.get(conflicts).json()
    assert [entry["_id"] for entry in listed["conflicts"]] == [kept["conflict"]]
    assert listed["next"] is None
    read = api.get(f"{conflicts}/{kept['conflict']}").json()
    assert (read["mine"], read["theirs"]) == ({"a": 3, "b": 1}, {"a": 2, "b": 1})
    assert read["stamp"] == "018bcfe56800-0000-laptop"
    settled = api.post(f"{conflicts}/{kept['conflict']}", json={"take": "mine"})
    assert settled.json()["document"]["a"] == 3
    assert api.get(f"{documents}/x").json()["a"] == 3
    assert api.get(conflicts).json()["conflicts"] == []
    problem(api.get(f"{conflicts}/{kept['conflict']}"), 404, "not_found")


def test_conflicts_come_in_pages(api, collection, x):
    for number in range(102):
        assert keep(api, collection, x, f"k{number}")["status"] == 412
    conflicts = f"/collections/{collection}/conflicts"
    first = api.get(conflicts).json()
    second = api.get(conflicts, params={"after": first["next"]}).json()
    ids = [entry["_id"] for entry in first["conflicts"] + second["conflicts"]]
    assert (len(first["conflicts"]), len(ids), len(set(ids))) == (100, 102, 102)
    assert ids == sorted(ids)
    problem(api.get(conflicts, params={"after": "other.1"}), 422, "invalid")


@pytest.mark.parametrize(
    "body", [{}, {"take": "mine", "document": {}}, {"take": "guess"}, {"document": {"_x": 1}}]
)
def test_a_resolution_that_makes_no_sense_is_refused(api, collection, x, body):
    conflict = keep(api, collection, x)["conflict"]
    path = f"/collections/{collection}/conflicts/{conflict}"
    problem(api.post(path, json=body), 422, "invalid")
    assert api.get(path).is_success


def test_conflicts_need_the_scope_and_the_collection(api, collection, x, make_key):
    conflict = keep(api, collection, x)["conflict"]
    path = f"/collections/{collection}/conflicts/{conflict}"
    reader, _ = make_key("documents:read", collections=[collection])
    stranger, _ = make_key("documents:read", "documents:write", collections=["other"])
    assert api.get(path, headers=reader).is_success
    problem(api.post(path, json={"take": "mine"}, headers=reader), 403, "forbidden")
    for answer in (api.get(path, headers=stranger), api.post(path, json={}, headers=stranger)):
        problem(answer, 403, "forbidden")
    problem(api.get("/collections/_conflicts/documents/x", headers=stranger), 403, "forbidden")
    other = f"/collections/other/conflicts/{conflict}"
    problem(api.post(other, json={"take": "theirs"}, headers=stranger), 404, "not_found")


def test_the_collection_of_conflicts_is_read_like_any_and_written_by_nobody(api, collection, x):
    conflict = keep(api, collection, x)["conflict"]
    path = f"/collections/_conflicts/documents/{conflict}"
    assert api.get(path).json()["collection"] == collection
    found = api.post("/collections/_conflicts/query", json={"filter": {"collection": collection}})
    assert [entry["_id"] for entry in found.json()["documents"]] == [conflict]
    for answer in (
        api.put(path, json={}),
        api.patch(path, json={}),
        api.delete(path),
        api.post("/collections/_conflicts/documents", json={}),
        api.put("/collections/_conflicts", json={}),
        api.delete("/collections/_conflicts"),
    ):
        problem(answer, 422, "invalid")
