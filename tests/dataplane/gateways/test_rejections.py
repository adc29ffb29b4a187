"""`GET /nodes/rejections`: empty where nobody erred, strict parameters, the right scope."""

import pytest

from tests.dataplane.gateways.conftest import problem


def test_where_nothing_was_refused_there_is_nothing_to_tell(api):
    answer = api.get("/nodes/rejections", params={"after": "0", "limit": "500"})
    assert answer.status_code == 200
    assert answer.json() == {"node_id": 0, "newest": 0, "results": [], "counts": [], "alarms": {}}


@pytest.mark.parametrize(
    "params", [{"limit": "0"}, {"limit": "501"}, {"after": "x"}, {"after": "9" * 30}]
)
def test_wrong_parameters_are_named(api, params):
    body = problem(api.get("/nodes/rejections", params=params), 422, "invalid")
    assert body["errors"][0]["pointer"] == f"/{next(iter(params))}"


def test_it_needs_the_scope_of_the_cluster(api, make_key):
    headers, _ = make_key("documents:read")
    problem(api.get("/nodes/rejections", headers=headers), 403, "forbidden")
    document = api.get(str(api.base_url).replace("/api/v1/", "/openapi.json")).json()
    assert "get" in document["paths"]["/api/v1/nodes/rejections"]
