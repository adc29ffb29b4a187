"""Queries and aggregations over HTTP: who may, what comes back, and what is refused."""

import pytest

from tests.dataplane.gateways.conftest import problem


@pytest.fixture
def flights(api, collection):
    documents = [
        {"op": "put", "id": f"f{n:02}", "document": {"from": f"A{n % 3}", "minutes": n, "n": n}}
        for n in range(30)
    ]
    api.post(f"/collections/{collection}/bulk", json={"operations": documents})
    airports = [{"op": "put", "id": f"A{n}", "document": {"city": f"City {n}"}} for n in range(3)]
    api.post(f"/collections/{collection}-airports/bulk", json={"operations": airports})
    return f"/collections/{collection}"


def joined(collection):
    return [
        {"$match": {"minutes": {"$gte": 6}}},
        {"$group": {"_id": "$from", "flights": {"$sum": 1}, "mean": {"$avg": "$minutes"}}},
        {
            "$lookup": {
                "from": f"{collection}-airports",
                "localField": "_id",
                "foreignField": "_id",
                "as": "airport",
            }
        },
        {"$unwind": "$airport"},
        {"$sort": {"mean": -1}},
        {"$limit": 2},
        {"$project": {"city": "$airport.city", "flights": 1, "mean": 1}},
    ]


@pytest.mark.parametrize("consistency", ["strong", "session", "local"])
def test_a_pipeline_answers_at_the_consistency_asked_for(api, collection, flights, consistency):
    body = {"pipeline": joined(collection), "consistency": consistency, "explain": True}
    answer = api.post(f"{flights}/aggregate", json=body)
    assert answer.status_code == 200
    assert answer.json()["documents"] == [
        {"_id": "A2", "flights": 8, "mean": 18.5, "city": "City 2"},
        {"_id": "A1", "flights": 8, "mean": 17.5, "city": "City 1"},
    ]
    assert answer.json()["scanned"] == 33
    plan = answer.json()["plan"]
    assert (plan["stage"], plan["fields"], plan["returned"]) == (
        "collection_scan",
        ["from", "minutes"],
        2,
    )
    assert int(answer.headers["Aerolith-Sequence"]) > 0
    assert ("Aerolith-Lag" in answer.headers) == (consistency != "strong")


def test_a_pipeline_reads_no_collection_that_the_key_does_not_cover(
    api, collection, flights, make_key
):
    alone, _ = make_key("documents:read", collections=[collection])
    both, _ = make_key("documents:read", collections=[f"{collection}*"])
    body = {"pipeline": joined(collection)}
    path = f"{flights}/aggregate"
    problem(api.post(path, json=body, headers=alone), 403, "forbidden")
    assert api.post(path, json={"pipeline": []}, headers=alone).status_code == 200
    assert api.post(path, json=body, headers=both).status_code == 200
    writer, _ = make_key("documents:write")
    problem(api.post(path, json={"pipeline": []}, headers=writer), 403, "forbidden")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/pipeline"),
        ({"pipeline": [], "limit": 1}, "/limit"),
        ({"pipeline": [{"$group": {}}]}, "/pipeline/0/$group"),
        ({"pipeline": [{"$project": {"x": {"$size": "$n"}}}]}, "/pipeline/0/$project/x/$size"),
        ({"pipeline": [], "consistency": "bounded"}, "/consistency"),
    ],
)
def test_a_bad_pipeline_is_refused_with_pointers(api, flights, body, pointer):
    refusal = problem(api.post(f"{flights}/aggregate", json=body), 422, "invalid")
    assert [error["pointer"] for error in refusal["errors"]] == [pointer]


def test_what_would_be_too_large_is_refused_as_such(api, collection, flights):
    operation = {"op": "put", "id": "big", "document": {"l": list(range(100)), "k": [0] * 200}}
    api.post(f"{flights}/bulk", json={"operations": [operation]})
    pipeline = [{"$unwind": "$l"}, {"$unwind": "$k"}]
    answer = api.post(f"{flights}/aggregate", json={"pipeline": pipeline})
    assert "errors" in problem(answer, 413, "too_large")
    counted = api.post(f"{flights}/aggregate", json={"pipeline": [*pipeline, {"$count": "n"}]})
    assert counted.json()["documents"] == [{"n": 20_000}]


def test_the_plan_of_a_query_says_what_was_examined(api, flights):
    body = {"filter": {"_id": {"$in": ["f01", "f02", "no"]}, "n": 2}, "explain": True}
    plan = api.post(f"{flights}/query", json=body).json()["plan"]
    assert (plan["stage"], plan["keys_examined"], plan["documents_examined"], plan["returned"]) == (
        "id_lookup",
        3,
        2,
        1,
    )
    assert plan["time_ms"] >= 0


@pytest.mark.parametrize(
    "body",
    [
        {"filter": {'a"b': 1, "c\\d": {"$gt": 1}, "e\nf": None}},
        {"filter": {"n": 1}, "sort": {'"': 1}},
        {"sort": {"n": []}},
        {"filter": {"$and": [[]]}},
    ],
)
def test_strange_names_and_values_never_break_the_node(api, flights, body):
    assert api.post(f"{flights}/query", json=body).status_code in {200, 422}


def test_the_description_has_the_bodies_of_questions(api):
    paths = api.get(str(api.base_url).replace("/api/v1/", "/openapi.json")).json()["paths"]
    for name, field in (("query", "filter"), ("aggregate", "pipeline")):
        operation = paths[f"/api/v1/collections/{{c}}/{name}"]["post"]
        body = operation["requestBody"]["content"]["application/json"]["schema"]
        assert field in body["properties"]
        answer = operation["responses"]["200"]["content"]["application/json"]["schema"]
        assert "documents" in answer["required"]
        assert {"413", "422", "429"} <= set(operation["responses"])
