"""The OpenAPI document, held to a node of its own by requests drawn from it."""

import re

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance

from dataplane.client.local import LocalCluster
from dataplane.gateways.rest.openapi import openapi_document
from tests.processes.conftest import wait_ready

# Taking the key away that asks, or the room to ask in, would end the test; streams have no end.
NEVER_ASKED = re.compile(r"/api/v1/(quota|members|keys/|restore|encryption/|changes|backup)")
OPERATIONS = [
    (path, method)
    for path, methods in openapi_document("http://node")["paths"].items()
    for method in methods
    if not NEVER_ASKED.match(path)
]


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    cluster = LocalCluster(tmp_path_factory.mktemp("described"), 1)
    cluster.start()
    wait_ready(cluster)
    yield cluster
    cluster.kill()


@pytest.fixture(scope="module")
def schema(own):
    return schemathesis.openapi.from_url(f"{own.urls[0]}/openapi.json")


def test_what_restores_and_batches_take_in_the_query_is_described():
    paths = openapi_document("http://node")["paths"]
    described = {
        (method, path): [parameter["name"] for parameter in operation.get("parameters", ())]
        for path in ("/api/v1/batches", *(path for path in paths if "/restore" in path))
        for method, operation in paths[path].items()
    }
    assert described == {
        ("get", "/api/v1/batches"): ["after"],
        ("get", "/api/v1/restore"): ["proof"],
        ("put", "/api/v1/restore"): [],
        ("post", "/api/v1/restore"): [],
        ("delete", "/api/v1/restore"): ["id"],
        ("post", "/api/v1/restore/parts"): ["id", "number"],
        ("post", "/api/v1/restore/finish"): ["id"],
    }


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_no_request_makes_the_node_fail_and_answers_are_as_described(own, schema, path, method):
    headers = {"Authorization": f"Bearer {own.api_key}"}
    checks = [not_a_server_error, content_type_conformance, response_schema_conformance]

    @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
    @given(schema[path][method].as_strategy())
    def ask(case):
        case.call_and_validate(headers=headers, checks=checks)

    ask()
