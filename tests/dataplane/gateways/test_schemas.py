"""Schemas over HTTP: errors by field, before and after a place in the log, and reports."""

import httpx

from tests.dataplane.gateways.conftest import problem

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


def test_documents_that_do_not_fit_are_refused_with_pointers(
    api: httpx.Client, collection: str, documents: str
) -> None:
    path = f"/collections/{collection}"
    made = api.put(path, json={"schema": SCHEMA})
    assert made.status_code == 201, made.text
    assert made.json()["options"]["schema"] == SCHEMA
    assert api.put(f"{documents}/x", json={"n": 1}).status_code == 201
    early = api.put(f"{documents}/x", json={"n": "1"})
    ordered = api.put(f"{documents}/x", json={"n": "1"}, headers={"Idempotency-Key": documents})
    patched = api.patch(f"{documents}/x", json={"n": "1"})
    for response in (early, ordered, patched):
        body = problem(response, 422, "invalid")
        assert body["errors"] == [{"pointer": "/n", "detail": "must be of type integer"}]
    assert problem(api.post(documents, json={}), 422, "invalid")["errors"][0]["pointer"] == "/n"
    item = {"op": "put", "id": "y", "document": {}}
    (result,) = api.post(f"{path}/bulk", json={"operations": [item]}).json()["results"]
    assert (result["status"], result["errors"][0]["pointer"]) == (422, "/n")


def test_a_wrong_schema_is_refused_with_a_pointer(api: httpx.Client, collection: str) -> None:
    path = f"/collections/{collection}"
    for schema, pointer in (
        ({"type": "x"}, "/schema/type"),
        ({"$ref": "http://a"}, "/schema/$ref"),
    ):
        body = problem(api.put(path, json={"schema": schema}), 422, "invalid")
        assert body["errors"][0]["pointer"] == pointer
    body = problem(api.put(path, json={"schema": {}, "validation": "x"}), 422, "invalid")
    assert body["errors"][0]["pointer"] == "/validation"


def test_what_does_not_fit_is_told_to_those_who_may_read(
    api: httpx.Client, make_key, collection: str, documents: str
) -> None:
    path = f"/collections/{collection}"
    api.put(f"{documents}/secret-name", json={"n": "one"})
    headers, _ = make_key("collections:admin")
    trial = api.put(path, params={"dry_run": "true"}, json={"schema": SCHEMA}, headers=headers)
    problem(trial, 403, "forbidden")
    real = api.put(path, json={"schema": SCHEMA}, headers=headers)
    assert real.status_code == 200
    assert "report" not in real.json()
    assert api.put(path, json={"schema": SCHEMA}).json()["report"]["violating"] == 1


def test_a_change_of_the_schema_reports_what_does_not_fit(
    api: httpx.Client, collection: str, documents: str
) -> None:
    path = f"/collections/{collection}"
    for number in range(30):
        api.put(f"{documents}/{number:02}", json={"n": number if number % 10 else "zero"})
    trial = api.put(path, params={"dry_run": "true"}, json={"schema": SCHEMA}).json()
    assert trial["dry_run"] is True
    report = trial["report"]
    assert {**report, "examples": None} == {
        "checked": 30,
        "violating": 3,
        "complete": True,
        "examples": None,
    }
    assert [example["_id"] for example in report["examples"]] == ["00", "10", "20"]
    assert report["examples"][0]["errors"][0]["pointer"] == "/n"
    assert api.put(f"{documents}/x", json={}).status_code == 201, "a trial changes nothing"
    real = api.put(path, json={"schema": SCHEMA, "validation": "moderate"}).json()
    assert real["report"]["violating"] == 4
    assert api.patch(f"{documents}/x", json={"m": 1}).status_code == 200
    problem(api.put(f"{documents}/y", json={}), 422, "invalid")
