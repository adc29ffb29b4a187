"""`GET /evidence`: empty where nobody lied, with strict parameters and the right scope."""

import pytest

from tests.dataplane.gateways.conftest import problem


def test_a_cluster_in_which_nobody_lied_has_no_evidence(api):
    answer = api.get("/evidence", params={"cursor": "0", "limit": "200"})
    assert answer.status_code == 200
    assert answer.json() == {"node_id": 0, "count": 0, "results": [], "next": None}
    assert api.get("/stats").json()["evidence"] == 0


@pytest.mark.parametrize(
    "params",
    [{"limit": "0"}, {"limit": "201"}, {"limit": "x"}, {"cursor": "-1"}, {"cursor": "9" * 30}],
)
def test_wrong_parameters_are_named(api, params):
    body = problem(api.get("/evidence", params=params), 422, "invalid")
    assert body["errors"][0]["pointer"] == f"/{next(iter(params))}"


def test_evidence_needs_the_scope_of_the_cluster(api, make_key):
    headers, _ = make_key("documents:read")
    problem(api.get("/evidence", headers=headers), 403, "forbidden")
    headers, _ = make_key("cluster:read")
    assert api.get("/evidence", headers=headers).status_code == 200


def test_the_description_knows_the_path(api):
    document = api.get(str(api.base_url).replace("/api/v1/", "/openapi.json")).json()
    assert "get" in document["paths"]["/api/v1/evidence"]
