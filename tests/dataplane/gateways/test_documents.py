"""Documents over REST, against a real node."""

import httpx
import pytest

from tests.dataplane.gateways.conftest import problem


def test_create_answers_the_document_its_place_and_its_version(api, documents):
    answer = api.post(documents, json={"name": "Ada"})
    assert answer.status_code == 201
    body = answer.json()
    assert body["_version"] == 1
    assert body["name"] == "Ada"
    assert body["_created"] == body["_updated"]
    assert answer.headers["ETag"] == '"1"'
    assert int(answer.headers["Aerolith-Sequence"]) > 0
    assert answer.headers["Aerolith-View"] == "0"
    read = api.get(answer.headers["Location"].removeprefix("/api/v1"))
    assert read.json() == body


def test_create_takes_the_id_of_the_body_and_refuses_it_twice(api, documents):
    assert api.post(documents, json={"_id": "a", "n": 1}).json()["_id"] == "a"
    problem(api.post(documents, json={"_id": "a"}), 409, "conflict")


def test_put_creates_then_replaces_and_versions_rise(api, documents):
    first = api.put(f"{documents}/x", json={"n": 1, "old": True})
    second = api.put(f"{documents}/x", json={"n": 2})
    assert (first.status_code, second.status_code) == (201, 200)
    assert second.json()["_version"] == 2
    assert "old" not in second.json()


def test_what_a_read_returned_can_be_put_back(api, documents):
    body = api.put(f"{documents}/x", json={"n": 1}).json()
    again = api.put(f"{documents}/x", json={**body, "n": 2}, headers={"If-Match": '"1"'})
    assert again.json()["_version"] == 2


def test_if_match_and_if_none_match_guard_a_write(api, documents):
    api.put(f"{documents}/x", json={"n": 1})
    stale = api.put(f"{documents}/x", json={"n": 2}, headers={"If-Match": '"7"'})
    assert problem(stale, 412, "precondition_failed")["version"] == 1
    exists = api.put(f"{documents}/x", json={"n": 2}, headers={"If-None-Match": "*"})
    problem(exists, 412, "precondition_failed")
    assert api.get(f"{documents}/x").json()["n"] == 1
    assert api.delete(f"{documents}/x", headers={"If-Match": '"7"'}).status_code == 412


def test_patch_merges_and_operators_update(api, documents):
    api.put(f"{documents}/x", json={"n": 1, "gone": 1, "deep": {"a": 1, "b": 2}})
    merged = api.patch(
        f"{documents}/x",
        json={"gone": None, "deep": {"b": 3}},
        headers={"Content-Type": "application/merge-patch+json"},
    ).json()
    assert (merged["deep"], "gone" in merged) == ({"a": 1, "b": 3}, False)
    updated = api.patch(
        f"{documents}/x",
        json={"$inc": {"n": 4}, "$push": {"list": "a"}},
        headers={"Content-Type": "application/vnd.aerolith.update+json"},
    ).json()
    assert (updated["n"], updated["list"], updated["_version"]) == (5, ["a"], 3)
    unknown = api.patch(
        f"{documents}/x",
        json={"$explode": {"n": 4}},
        headers={"Content-Type": "application/vnd.aerolith.update+json"},
    )
    problem(unknown, 422, "invalid")


def test_delete_removes_and_a_new_life_has_another_version(api, documents):
    api.put(f"{documents}/x", json={})
    assert api.delete(f"{documents}/x").status_code == 204
    problem(api.get(f"{documents}/x"), 404, "not_found")
    problem(api.delete(f"{documents}/x"), 404, "not_found")
    assert api.put(f"{documents}/x", json={}).json()["_version"] > 1


@pytest.mark.parametrize("consistency", ["strong", "session", "bounded", "local"])
def test_reads_are_served_at_each_consistency(api, documents, consistency):
    written = api.put(f"{documents}/x", json={"n": 1})
    read = api.get(
        f"{documents}/x",
        params={"consistency": consistency},
        headers={"Aerolith-After": written.headers["Aerolith-Sequence"]},
    )
    assert read.json()["n"] == 1
    after, before = (int(r.headers["Aerolith-Sequence"]) for r in (read, written))
    assert after >= before


@pytest.mark.parametrize("query", ["consistency=never", "proof=maybe"])
def test_what_is_not_offered_is_refused_by_name(api, documents, query):
    api.put(f"{documents}/x", json={})
    problem(api.get(f"{documents}/x?{query}"), 422, "invalid")


def test_an_idempotency_key_makes_a_retry_return_the_first_outcome(api, documents):
    headers = {"Idempotency-Key": documents}
    first = api.post(documents, json={"n": 1}, headers=headers)
    again = api.post(documents, json={"n": 1}, headers=headers)
    assert again.status_code == 201
    assert again.json() == first.json()
    other = api.post(documents, json={"n": 2}, headers=headers)
    problem(other, 422, "idempotency_key_reused")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "malformed"),
        (b"[1]", 400, "malformed"),
        (b'{"a":1,"a":2}', 400, "malformed"),
        (b'{"a":NaN}', 400, "malformed"),
        (b'{"a":' + b"[" * 101 + b"]" * 101 + b"}", 400, "malformed"),
        (b'{"_mine":1}', 422, "invalid"),
        (b'{"a":"' + b"x" * (1024 * 1024) + b'"}', 413, "too_large"),
        (b'\xff{"a":1}', 400, "malformed"),
    ],
)
def test_bad_documents_are_refused(api, documents, *, body, status, code):
    answer = api.put(f"{documents}/x", content=body, headers={"Content-Type": "application/json"})
    problem(answer, status, code)
    assert api.get(f"{documents}/x").status_code == 404


@pytest.mark.parametrize("name", ["A", "9x", "x" * 64, "a.b"])
def test_bad_collection_names_are_refused(api, name):
    problem(api.put(f"/collections/{name}/documents/x", json={}), 422, "invalid")


def test_bad_ids_are_refused(api, documents):
    problem(api.put(f"{documents}/{'x' * 129}", json={}), 422, "invalid")
    problem(api.put(f"{documents}/a%01b", json={}), 422, "invalid")


@pytest.mark.parametrize("name", [".", ".."])
def test_a_step_in_a_path_is_no_id(api, documents, name):
    problem(api.post(documents, json={"_id": name}), 422, "invalid")
    problem(api.put(f"{documents}/{name.replace('.', '%2E')}", json={}), 422, "invalid")
    problem(api.delete(f"{documents}/{name.replace('.', '%2E')}"), 422, "invalid")


def test_other_content_types_are_refused(api, documents):
    answer = api.put(f"{documents}/x", content=b"<a/>", headers={"Content-Type": "text/xml"})
    problem(answer, 415, "unsupported_media_type")


def test_integers_of_64_bits_stay_exact(api, documents):
    api.put(f"{documents}/x", json={"big": 2**63 - 1, "small": -(2**63), "float": 0.1})
    read = api.get(f"{documents}/x").json()
    assert (read["big"], read["small"], read["float"]) == (2**63 - 1, -(2**63), 0.1)


def test_bulk_gives_each_operation_its_own_result(api, collection, documents):
    api.put(f"{documents}/there", json={"n": 1})
    operations = [
        {"op": "create", "document": {"n": 2}},
        {"op": "create", "id": "there", "document": {}},
        {"op": "put", "id": "new", "document": {"n": 3}},
        {"op": "patch", "id": "there", "document": {"n": 9}, "if_version": 1},
        {"op": "delete", "id": "nothing"},
        {"op": "paint", "id": "x", "document": {}},
        {"op": "put", "id": "x", "document": {"_bad": 1}},
        {"op": "put", "document": {}},
    ]
    answer = api.post(f"/collections/{collection}/bulk", json={"operations": operations})
    results = answer.json()["results"]
    assert [result["status"] for result in results] == [201, 409, 201, 200, 404, 422, 422, 422]
    assert results[1]["code"] == "conflict"
    assert api.get(f"{documents}/there").json()["n"] == 9


def test_bulk_has_a_limit_and_repeats_by_its_key(api, collection):
    path = f"/collections/{collection}/bulk"
    item = {"op": "create", "document": {}}
    problem(api.post(path, json={"operations": [item] * 1001}), 413, "too_large")
    problem(api.post(path, json={"operations": []}), 422, "invalid")
    headers = {"Idempotency-Key": collection}
    first = api.post(path, json={"operations": [item] * 600}, headers=headers).json()
    again = api.post(path, json={"operations": [item] * 600}, headers=headers).json()
    assert [r["id"] for r in first["results"]] == [r["id"] for r in again["results"]]
    listed = api.get("/collections").json()["collections"]
    assert next(c["documents"] for c in listed if c["name"] == collection) == 600


def test_query_filters_sorts_and_pages(api, collection, documents):
    operations = [
        {"op": "put", "id": f"d{n:03}", "document": {"n": n, "even": n % 2 == 0}} for n in range(50)
    ]
    api.post(f"/collections/{collection}/bulk", json={"operations": operations})
    path = f"/collections/{collection}/query"
    body = {"filter": {"even": True, "n": {"$gte": 10}}, "sort": {"n": -1}, "limit": 8}
    seen, after = [], None
    while True:
        page = api.post(path, json={**body, **({"after": after} if after else {})}).json()
        seen += [document["n"] for document in page["documents"]]
        after = page["next"]
        if after is None:
            break
        api.put(f"{documents}/zz{len(seen)}", json={"n": 1000 + len(seen), "even": True})
    assert seen == list(range(48, 9, -2))
    projected = api.post(path, json={"projection": ["n"], "limit": 1, "explain": True}).json()
    assert set(projected["documents"][0]) == {"_id", "_version", "_created", "_updated", "n"}
    assert projected["plan"]


@pytest.mark.parametrize(
    "body",
    [
        {"filter": {"n": {"$near": 1}}},
        {"sort": {"n": 2}},
        {"limit": 0},
        {"limit": 100_000},
        {"after": "garbage"},
        {"surprise": 1},
        {"filter": {"n": {"$regex": "("}}},
    ],
)
def test_bad_queries_are_refused_with_pointers(api, collection, body):
    answer = api.post(f"/collections/{collection}/query", json=body)
    assert problem(answer, 422, "invalid")["errors"]


def test_head_answers_like_get_without_a_body(api: httpx.Client, documents):
    api.put(f"{documents}/x", json={"n": 1})
    head = api.head(f"{documents}/x")
    assert (head.status_code, head.content, head.headers["ETag"]) == (200, b"", '"1"')


@pytest.mark.parametrize("name", ["ümläut 日本", "a?b#c%d", "...", 'quote"', "💎" * 32])
def test_an_id_of_any_letters_has_a_place_that_works(api, documents, name):
    created = api.post(documents, json={"_id": name, "n": 1})
    assert created.status_code == 201
    read = api.get(created.headers["Location"].removeprefix("/api/v1"))
    assert read.json() == created.json()


def test_every_answer_says_where_in_the_log_it_stands(api, documents):
    answers = [
        api.put(f"{documents}/x", json={}),
        api.get(f"{documents}/nothing"),
        api.get("/nothing"),
        api.get("/keys"),
        api.get("/stats", headers={"Authorization": "Bearer wrong"}),
        api.delete(f"{documents}/x"),
    ]
    for answer in answers:
        assert int(answer.headers["Aerolith-Sequence"]) > 0
        assert answer.headers["Aerolith-View"] == "0"


def test_a_read_of_one_nodes_state_says_how_far_it_may_lag(api, collection, documents):
    api.put(f"{documents}/x", json={})
    path, query = f"{documents}/x?consistency=local", {"consistency": "local"}
    assert api.get(path).headers["Aerolith-Lag"] == "0"
    assert api.post(f"/collections/{collection}/query", json=query).headers["Aerolith-Lag"] == "0"
    assert "Aerolith-Lag" not in api.get(f"{documents}/x").headers


@pytest.mark.parametrize("given", ['"²"'.encode("latin-1"), '"%s"' % ("9" * 30), "W/1", ""])
def test_a_version_that_is_none_is_invalid(api, documents, given):
    answer = api.put(f"{documents}/x", json={}, headers={"If-Match": given})
    problem(answer, 422, "invalid")


@pytest.mark.parametrize("version", [2**70, -1, 1.5])
def test_an_item_of_a_bulk_request_with_an_impossible_version_is_invalid(api, collection, version):
    item = {"op": "put", "id": "x", "document": {}, "if_version": version}
    answer = api.post(f"/collections/{collection}/bulk", json={"operations": [item]})
    assert answer.status_code == 200
    assert answer.json()["results"][0]["code"] == "invalid"


def test_a_bulk_that_changes_more_than_a_batch_may_is_done_in_several(api, collection) -> None:
    """Ninety documents of 900,000 bytes are removed by one small request, in order."""
    ids = [f"d{number:02}" for number in range(90)]
    for start in range(0, 90, 15):
        items = [
            {"op": "put", "id": own, "document": {"x": "x" * 900_000}}
            for own in ids[start : start + 15]
        ]
        done = api.post(f"/collections/{collection}/bulk", json={"operations": items}).json()
        assert {item["status"] for item in done["results"]} == {201}
    items = [{"op": "delete", "id": own} for own in ids]
    items.append({"op": "put", "id": ids[-1], "document": {"again": True}})
    answer = api.post(f"/collections/{collection}/bulk", json={"operations": items})
    assert [item["status"] for item in answer.json()["results"]] == [204] * 90 + [201]
    left = api.post(f"/collections/{collection}/query", json={}).json()["documents"]
    assert [document["_id"] for document in left] == ids[-1:]
