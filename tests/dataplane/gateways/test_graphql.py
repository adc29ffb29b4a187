"""The GraphQL gateway of a real node: over HTTP, and by graphql-transport-ws."""

import asyncio
import json
from types import SimpleNamespace

import httpx
import pytest
from graphql import build_client_schema, get_introspection_query, print_schema
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from dataplane.gateways.graphql.bounds import COST_MAX, FIELDS_MAX
from dataplane.gateways.graphql.session import OPERATIONS_MAX, GraphSession
from tests.dataplane.gateways.conftest import problem


@pytest.fixture
def ask(node):
    def ask(query, *, status=200, headers=None, **variables):
        answer = httpx.post(
            f"{node.urls[0]}/graphql",
            json={"query": query, "variables": variables},
            headers=headers or {"Authorization": f"Bearer {node.api_key}"},
            trust_env=False,
            timeout=20,
        )
        assert answer.status_code == status, answer.text
        return answer.json()

    return ask


def code_of(answer):
    (error,) = answer["errors"]
    assert {"code", "status"} <= set(error["extensions"])
    return error["extensions"]["code"]


PUT = """mutation ($c: String!, $id: ID!, $data: JSON!, $v: Long) {
  put(collection: $c, id: $id, data: $data, ifVersion: $v) { id version created updated data } }"""
GET = "query ($c: String!, $id: ID!) { document(collection: $c, id: $id) { version data } }"


def test_documents_live_and_die_over_the_graph(ask, collection):
    made = ask(PUT, c=collection, id="x", data={"n": 2**60, "deep": {"a": [1, None]}})["data"][
        "put"
    ]
    assert (made["id"], made["version"]) == ("x", 1)
    assert made["data"] == {"n": 2**60, "deep": {"a": [1, None]}}
    assert ask(GET, c=collection, id="x")["data"]["document"]["data"] == made["data"]
    assert ask(GET, c=collection, id="y") == {"data": {"document": None}}
    stale = ask(PUT, c=collection, id="x", data={}, v=9)
    assert code_of(stale) == "precondition_failed"
    assert stale["errors"][0]["extensions"]["version"] == 1
    assert stale["errors"][0]["path"] == ["put"]
    both = f"""mutation {{
      a: patch(collection: "{collection}", id: "x", patch: {{deep: null, m: 1}}) {{ data }}
      b: patch(collection: "{collection}", id: "x", update: {{_: 1}}) {{ data }} }}"""
    answer = ask(both)
    assert code_of(answer) == "invalid"
    add = 'mutation ($c: String!, $u: JSON) { patch(collection: $c, id: "x", update: $u) { data } }'
    assert ask(add, c=collection, u={"$inc": {"m": 1}})["data"]["patch"]["data"]["m"] == 2
    steps = [{"op": "put", "collection": collection, "id": "z", "document": {}}]
    transact = "mutation ($o: [JSON!]!) { transact(operations: $o) }"
    assert ask(transact, o=steps)["data"]["transact"] == [{"status": 201, "id": "z", "version": 1}]
    gone = f'mutation {{ delete(collection: "{collection}", id: "z") }}'
    assert ask(gone) == {"data": {"delete": True}}
    assert code_of(ask(gone)) == "not_found"


def test_a_page_has_its_documents_and_the_way_on(ask, collection):
    steps = [
        {"op": "put", "collection": collection, "id": f"{n}", "document": {"n": n}}
        for n in range(5)
    ]
    ask("mutation ($o: [JSON!]!) { transact(operations: $o) }", o=steps)
    query = """query ($c: String!, $f: JSON, $a: String) {
      documents(collection: $c, filter: $f, sort: {n: -1}, limit: 2, after: $a) {
        documents { id data } next scanned } }"""
    found, after = [], None
    while True:
        page = ask(query, c=collection, f={"n": {"$gt": 0}}, a=after)["data"]["documents"]
        found += [document["data"]["n"] for document in page["documents"]]
        after = page["next"]
        if after is None:
            break
    assert found == [4, 3, 2, 1]
    assert code_of(ask(query, c=collection, f={"n": {"$no": 0}})) == "invalid"


@pytest.mark.parametrize("names", [[], ["n"], ["_id"], ["a.b"], ["_version", "n"]])
def test_a_projected_document_is_still_one(ask, collection, api, documents, names):
    api.put(f"{documents}/x", json={"n": 1, "a": {"b": 2, "c": 3}})
    query = """query ($c: String!, $p: [String!]) {
      documents(collection: $c, projection: $p) { documents { id version created data } } }"""
    answer = ask(query, c=collection, p=names)
    if "errors" in answer:
        assert code_of(answer) == "invalid"
        return
    (document,) = answer["data"]["documents"]["documents"]
    assert (document["id"], document["version"]) == ("x", 1)
    assert document["created"]


def test_the_cluster_tells_of_itself(ask, api, documents, collection):
    api.put(f"{documents}/x", json={})
    answer = ask("{ stats { view quorum version all } collections { name documents } }")["data"]
    assert answer["stats"]["quorum"] == answer["stats"]["all"]["quorum"] == 1
    assert {"name": collection, "documents": 1} in answer["collections"]


def test_the_schema_may_be_asked_for(ask):
    schema = build_client_schema(ask(get_introspection_query())["data"])
    assert "type Subscription" in print_schema(schema)


NESTED = "{ a " * 30 + "}" * 30
MANY = "{ " + " ".join(f"a{n}: stats {{ view }}" for n in range(COST_MAX)) + " }"
WIDE = "{ stats { " + " ".join(f"a{n}: view" for n in range(FIELDS_MAX + 1)) + " } }"
LAUGHS = (
    "{ ...f0 } "
    + " ".join(f"fragment f{n} on Query {{ ...f{n + 1} ...f{n + 1} }}" for n in range(40))
    + " fragment f40 on Query { stats { view } }"
)


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("", "malformed"),
        ("{", "malformed"),
        ("{ nothing }", "invalid"),
        ("query a { stats { view } } query b { stats { view } }", "invalid"),
        ("{ ...f } fragment f on Query { ...f }", "invalid"),
        ("{ document(collection: 1, id: 2) { id } }", "invalid"),
        ("subscription { changes { place } }", "invalid"),
        (NESTED, "too_large"),
        (MANY, "too_large"),
        (WIDE, "too_large"),
        (LAUGHS, "too_large"),
        ("{ a" * 3_000, "malformed"),
        ("#" * 70_000, "malformed"),
    ],
    ids=range(13),
)
def test_a_document_that_cannot_be_done_is_refused(ask, query, code):
    assert code_of(ask(query)) == code


def test_refusals_of_the_door_are_problems(node, ask, api, make_key, collection):
    url = f"{node.urls[0]}/graphql"
    problem(httpx.post(url, json={"query": "{ stats { view } }"}), 401, "unauthenticated")
    headers = {"Authorization": f"Bearer {node.api_key}"}
    problem(httpx.get(url, headers=headers), 405, "method_not_allowed")
    problem(
        httpx.post(url, content=b"x", headers={**headers, "Content-Type": "a/b"}),
        415,
        "unsupported_media_type",
    )
    reader, _ = make_key("documents:read", collections=["logs-*"])
    assert code_of(ask(GET, headers=reader, c=collection, id="x")) == "forbidden"
    assert code_of(ask(PUT, headers=reader, c="logs-a", id="x", data={})) == "forbidden"
    assert code_of(ask("{ stats { view } }", headers=reader)) == "forbidden"
    new = {**headers, "Accept": "application/graphql-response+json"}
    answer = httpx.post(url, json={"query": "{"}, headers=new)
    assert (answer.status_code, answer.headers["content-type"]) == (
        400,
        "application/graphql-response+json",
    )


@pytest.mark.parametrize("text", [b"{", b"[]", b'{"query":1}', b'{"query":"{a}","x":1}', b"{}"])
def test_a_body_that_is_no_request_is_told_so(node, text):
    headers = {"Authorization": f"Bearer {node.api_key}", "Content-Type": "application/json"}
    answer = httpx.post(f"{node.urls[0]}/graphql", content=text, headers=headers)
    assert code_of(answer.json()) in {"malformed", "invalid"}


@pytest.mark.parametrize("literal", ["1e999", "9" * 400, '"\\ud800"', "-" + "9" * 30, "1.5e308"])
def test_literals_at_the_edge_are_answered(ask, collection, literal):
    query = (
        f'mutation {{ put(collection: "{collection}", id: "x", data: {{a: {literal}}}) {{ id }} }}'
    )
    answer = ask(query)
    assert "errors" not in answer or code_of(answer) in {"malformed", "invalid"}


_NAMES = [
    "document",
    "documents",
    "stats",
    "collections",
    "put",
    "id",
    "version",
    "data",
    "changes",
    "__schema",
    "x",
]
_ARGUMENTS = ["collection", "id", "data", "filter", "limit", "after", "consistency"]
_VALUES = ['"a"', "1", "{}", "[1]", "null", "$v", "A", "1.5", "true"]
_head = st.tuples(
    st.sampled_from(_NAMES),
    st.dictionaries(st.sampled_from(_ARGUMENTS), st.sampled_from(_VALUES), max_size=3),
).map(lambda f: f[0] + ("(" + ", ".join(f"{n}: {v}" for n, v in f[1].items()) + ")") * bool(f[1]))
_fields = st.recursive(
    _head,
    lambda inner: st.tuples(_head, st.lists(inner, min_size=1, max_size=3)).map(
        lambda f: f"{f[0]} {{ {' '.join(f[1])} }}"
    ),
    max_leaves=6,
)


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["query", "mutation", "query ($v: JSON)"]),
    st.lists(_fields, max_size=3),
    st.text(max_size=3),
)
def test_any_document_is_answered_and_never_as_a_failure(ask, kind, fields, noise):
    answer = ask(f"{kind} {{ {' '.join(fields)} }} {noise}", v={"a": 1})
    for error in answer.get("errors", ()):
        assert error["extensions"]["code"] != "internal", error


class Graph:
    """A client of graphql-transport-ws."""

    def __init__(self, socket):
        self.socket = socket

    def send(self, kind, **fields):
        self.socket.send(json.dumps({"type": kind, **fields}))

    def next(self):
        return json.loads(self.socket.recv(timeout=20))


@pytest.fixture
def opened(node):
    def opened():
        url = node.urls[0].replace("http://", "ws://") + "/graphql"
        return connect(url, subprotocols=["graphql-transport-ws"], proxy=None)

    return opened


@pytest.fixture
def graph(node, opened):
    with opened() as socket:
        graph = Graph(socket)
        graph.send("connection_init", payload={"authorization": f"Bearer {node.api_key}"})
        assert graph.next() == {"type": "connection_ack"}
        yield graph


CHANGES = """subscription ($c: [String!], $a: String, $f: JSON) {
  changes(collections: $c, after: $a, filter: $f) { place operation id document { data } }
}"""


def test_changes_are_told_filtered_and_resumed(graph, api, collection, documents):
    for n in range(3):
        api.put(f"{documents}/{n}", json={"n": n})
    variables = {"c": [collection], "a": "0", "f": {"n": {"$gte": 1}}}
    graph.send("subscribe", id="s", payload={"query": CHANGES, "variables": variables})
    told = [graph.next()["payload"]["data"]["changes"] for _ in range(2)]
    assert [change["document"]["data"]["n"] for change in told] == [1, 2]
    graph.send("complete", id="s")
    variables["a"] = told[0]["place"]
    graph.send("subscribe", id="s", payload={"query": CHANGES, "variables": variables})
    assert graph.next()["payload"]["data"]["changes"]["id"] == "2"
    api.delete(f"{documents}/2")
    gone = graph.next()["payload"]["data"]["changes"]
    assert (gone["operation"], gone["document"]) == ("delete", None)


def test_queries_go_over_the_connection_too_and_errors_have_codes(graph):
    graph.send("subscribe", id="q", payload={"query": "{ stats { quorum } }"})
    assert graph.next()["payload"] == {"data": {"stats": {"quorum": 1}}}
    assert graph.next() == {"type": "complete", "id": "q"}
    graph.send("subscribe", id="q", payload={"query": "{ nothing }"})
    answer = graph.next()
    assert (answer["type"], answer["payload"][0]["extensions"]["code"]) == ("error", "invalid")
    graph.send("subscribe", id="q", payload={"query": CHANGES, "variables": {"a": "x"}})
    answer = graph.next()
    assert (answer["type"], answer["payload"][0]["extensions"]["code"]) == ("error", "invalid")
    graph.send("ping")
    assert graph.next() == {"type": "pong"}


def test_operations_of_a_connection_are_bounded(graph):
    for number in range(OPERATIONS_MAX + 1):
        graph.send("subscribe", id=str(number), payload={"query": CHANGES})
    answer = graph.next()
    assert answer["id"] == str(OPERATIONS_MAX)
    assert answer["payload"][0]["extensions"]["code"] == "rate_limited"


class Blocked:
    """A connection whose client does not read."""

    is_writable = False

    def __init__(self):
        self.sent = []

    def send(self, text):
        self.sent.append(json.loads(text)["type"])


async def test_nothing_is_answered_to_a_client_that_does_not_read():
    admission = SimpleNamespace(renewed=lambda caller: caller)
    connection = Blocked()
    session = GraphSession(SimpleNamespace(admission=admission), connection, object())
    session.message(b'{"type":"connection_init"}')
    session.message(b'{"type":"subscribe","id":"a","payload":{"query":"{ __typename }"}}')
    for _ in range(10):
        await asyncio.sleep(0)
    assert connection.sent == ["connection_ack"]
    connection.is_writable = True
    session.resumed()
    for _ in range(10):
        await asyncio.sleep(0)
    assert connection.sent == ["connection_ack", "next", "complete"]
    session.closed()


@pytest.mark.parametrize(
    ("messages", "code"),
    [
        ([{"type": "subscribe", "id": "a", "payload": {"query": "{a}"}}], 4401),
        ([{"type": "connection_init", "payload": {"authorization": "Bearer adk_a_b"}}], 4401),
        ([{"type": "connection_init"}], 4401),
        ([{"type": "nonsense"}], 4400),
        ([{"no": "type"}], 4400),
        ([[]], 4400),
    ],
)
def test_what_breaks_the_protocol_ends_the_connection(opened, messages, code):
    with opened() as socket:
        for message in messages:
            socket.send(json.dumps(message))
        with pytest.raises(ConnectionClosed) as caught:
            socket.recv(timeout=20)
        assert caught.value.rcvd.code == code


def test_an_id_in_use_and_a_second_greeting_end_the_connection(node, opened):
    greeting = {"authorization": f"Bearer {node.api_key}"}
    subscribe = {"id": "a", "payload": {"query": CHANGES}}
    for kind, fields, code in (
        ("connection_init", {"payload": greeting}, 4429),
        ("subscribe", subscribe, 4409),
    ):
        with opened() as socket:
            graph = Graph(socket)
            graph.send("connection_init", payload=greeting)
            graph.next()
            graph.send("subscribe", **subscribe)
            graph.send(kind, **fields)
            with pytest.raises(ConnectionClosed) as caught:
                graph.next()
            assert caught.value.rcvd.code == code
