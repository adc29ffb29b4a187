"""The WebSocket gateway of a real node, by the client of another library's making."""

import asyncio
import contextlib
import importlib
import json
import socket

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from dataplane.client.local import LocalCluster
from dataplane.gateways.rest.http import HttpServer
from dataplane.gateways.rest.messages import Response
from dataplane.gateways.websocket import connection as module
from dataplane.gateways.websocket.session import IN_FLIGHT_MAX, STREAMS_MAX
from tests.processes.conftest import wait_ready


def opened(node: LocalCluster, headers=None, **options):
    url = node.urls[0].replace("http://", "ws://") + "/api/v1/ws"
    return connect(url, additional_headers=headers or {}, proxy=None, open_timeout=20, **options)


class Talk:
    """Asks and answers over one connection."""

    def __init__(self, socket):
        self.socket = socket

    def send(self, **frame):
        self.socket.send(json.dumps(frame))

    def next(self):
        return json.loads(self.socket.recv(timeout=20))

    def ask(self, **frame):
        self.send(**{"id": "q", **frame})
        answer = self.next()
        assert answer["id"] == frame.get("id", "q"), answer
        return answer


@pytest.fixture
def talk(node):
    with opened(node, {"Authorization": f"Bearer {node.api_key}"}) as socket:
        yield Talk(socket)


def code_of(answer):
    assert answer["type"] == "error", answer
    return answer["problem"]["code"]


def test_documents_live_and_die_over_frames(talk, collection):
    place = {"collection": collection, "document_id": "x"}
    put = talk.ask(type="put", document={"n": 2**60, "tags": ["a"]}, **place)
    assert (put["type"], put["status"], put["body"]["_version"]) == ("result", 201, 1)
    assert put["sequence"] > 0
    assert talk.ask(type="get", **place)["body"]["n"] == 2**60
    assert talk.ask(type="patch", patch={"tags": None}, **place)["body"]["_version"] == 2
    assert talk.ask(type="patch", update={"$inc": {"n": 1}}, **place)["body"]["n"] == 2**60 + 1
    stale = talk.ask(type="put", document={}, if_version=1, **place)
    assert (code_of(stale), stale["status"]) == ("precondition_failed", 412)
    found = talk.ask(type="query", collection=collection, query={"filter": {"n": {"$gt": 1}}})
    assert [document["_id"] for document in found["body"]["documents"]] == ["x"]
    counted = talk.ask(type="aggregate", collection=collection, aggregate={"pipeline": []})
    assert counted["body"]["scanned"] == 1
    local = talk.ask(type="get", consistency="local", **place)
    assert {"lag", "staleness_ms"} <= set(local)
    assert talk.ask(type="get", consistency="session", after=put["sequence"], **place)["body"]
    both = [{"op": "patch", "id": "x", "document": {"m": 1}, "collection": collection}] * 2
    done = talk.ask(type="transact", operations=both)
    assert [item["version"] for item in done["body"]["results"]] == [4, 5]
    assert talk.ask(type="delete", **place)["status"] == 204
    assert code_of(talk.ask(type="get", **place)) == "not_found"
    made = talk.ask(type="create", collection=collection, document={}, idempotency_key=collection)
    again = talk.ask(type="create", collection=collection, document={}, idempotency_key=collection)
    assert made["body"]["_id"] == again["body"]["_id"]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("{", "malformed"),
        ("[]", "invalid"),
        ("{}", "invalid"),
        ('{"type":"jump"}', "invalid"),
        ('{"type":"get","nonsense":1}', "invalid"),
        ('{"type":"get","collection":"a"}', "invalid"),
        ('{"type":"put","collection":"a","document_id":"b","document":[]}', "malformed"),
        ('{"type":"put","collection":"a","document_id":"b","document":{"a":1,"a":2}}', "malformed"),
        ('{"type":"put","collection":"a","document_id":"b"}', "invalid"),
        ('{"type":"query","collection":"a","query":{"filter":{"a":{"$no":1}}}}', "invalid"),
        ('{"type":"subscribe","collection":"a"}', "invalid"),
        ('{"type":"subscribe","id":1,"collection":"A"}', "invalid"),
        ('{"type":"unsubscribe","subscription":9}', "not_found"),
        ('{"type":"get","collection":"a","document_id":"b","after":-1}', "invalid"),
        ('{"type":"get","collection":"a","document_id":"b","consistency":"x"}', "invalid"),
        (
            '{"type":"put","collection":"a","document_id":"b","document":{},"if_version":-1}',
            "invalid",
        ),
        (
            f'{{"type":"put","collection":"a","document_id":"b","document":{{}},"if_version":{2**70}}}',
            "invalid",
        ),
    ],
)
def test_what_is_wrong_is_told_and_the_connection_stays(talk, text, code):
    talk.socket.send(text)
    assert code_of(talk.next()) == code
    assert talk.ask(type="ping")["type"] == "pong"


def test_a_token_may_come_as_the_first_frame(node):
    with opened(node) as socket:
        talk = Talk(socket)
        assert talk.ask(type="auth", token=node.api_key)["type"] == "authenticated"
        assert talk.ask(type="ping")["type"] == "pong"


@pytest.mark.parametrize("frame", [{"type": "ping"}, {"type": "auth", "token": "adk_a_b"}, {}])
def test_without_a_token_nothing_is_answered_but_the_refusal(node, frame):
    with opened(node) as socket:
        talk = Talk(socket)
        talk.send(**frame)
        code = code_of(talk.next())
        if frame:
            assert code == "unauthenticated"
            with pytest.raises(ConnectionClosed) as caught:
                talk.next()
            assert caught.value.rcvd.code == 4001


def test_a_wrong_header_is_refused_before_the_upgrade(node):
    with pytest.raises(InvalidStatus) as caught, opened(node, {"Authorization": "Bearer adk_a_b"}):
        pass
    assert caught.value.response.status_code == 401
    assert json.loads(caught.value.response.body)["code"] == "unauthenticated"


def test_a_request_that_is_no_upgrade_is_told_so(api):
    answer = api.get("/ws")
    assert answer.status_code == 400
    assert answer.headers["Sec-WebSocket-Version"] == "13"


def test_scopes_hold_for_every_frame_and_a_revoked_key_is_cut_off(node, api, make_key, collection):
    headers, key_id = make_key("documents:read", collections=["logs-*"])
    with opened(node, headers) as socket:
        talk = Talk(socket)
        place = {"collection": collection, "document_id": "x"}
        assert code_of(talk.ask(type="get", **place)) == "forbidden"
        assert code_of(talk.ask(type="put", document={}, **place)) == "forbidden"
        assert code_of(talk.ask(type="metrics")) == "forbidden"
        assert code_of(talk.ask(type="subscribe", collection=collection)) == "forbidden"
        assert api.delete(f"/keys/{key_id}").status_code == 204
        assert code_of(talk.ask(type="ping")) == "unauthenticated"
        with pytest.raises(ConnectionClosed):
            talk.next()


def test_changes_are_streamed_filtered_and_resumed(talk, api, collection, documents):
    began = talk.ask(id=1, type="subscribe", collection=collection, filter={"n": {"$gte": 1}})
    assert began["type"] == "subscribed"
    for n in range(3):
        api.put(f"{documents}/{n}", json={"n": n})
    told = [talk.next(), talk.next()]
    assert [frame["change"]["document"]["n"] for frame in told] == [1, 2]
    assert [frame["type"] for frame in told] == ["change"] * 2
    assert talk.ask(id=2, type="unsubscribe", subscription=1)["type"] == "unsubscribed"
    api.put(f"{documents}/3", json={"n": 3})
    talk.send(id=1, type="subscribe", collection=collection, after=told[0]["place"])
    frames = [talk.next() for _ in range(3)]
    assert [frame["type"] for frame in frames] == ["subscribed", "change", "change"]
    assert [frame["change"]["document"]["n"] for frame in frames[1:]] == [2, 3]
    assert code_of(talk.ask(id=1, type="subscribe", collection=collection)) == "invalid"


def test_streams_of_a_connection_are_bounded(talk, collection):
    for number in range(STREAMS_MAX):
        assert talk.ask(id=number, type="subscribe", collection=collection)["type"] == "subscribed"
    assert code_of(talk.ask(id="more", type="subscribe", collection=collection)) == "rate_limited"


def test_figures_are_streamed(talk):
    talk.send(id=7, type="metrics")
    frames = [talk.next(), talk.next()]
    assert {frame["type"] for frame in frames} == {"metrics"}
    assert {"view", "sequence", "ops", "latency_ms"} <= set(frames[1]["metrics"])


def test_more_frames_at_once_than_are_answered_at_once_are_all_answered(talk, collection):
    count = 4 * IN_FLIGHT_MAX
    for n in range(count):
        talk.send(id=n, type="put", collection=collection, document_id=str(n), document={})
    assert {talk.next()["id"] for _ in range(count)} == set(range(count))


@pytest.mark.parametrize(
    ("message", "code"), [(b"\x00", 1003), ("x" * (module.MESSAGE_BYTES_MAX + 1), 1009)]
)
def test_what_is_no_message_ends_the_connection(talk, message, code):
    talk.socket.send(message)
    with pytest.raises(ConnectionClosed) as caught:
        talk.next()
    assert caught.value.rcvd.code == code


def test_a_message_in_fragments_is_one_message(talk):
    talk.socket.send(["{", '"id":1,', '"type":"ping"}'])
    assert talk.next() == {"id": 1, "type": "pong"}


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.sampled_from(
            [
                "id",
                "type",
                "collection",
                "document",
                "document_id",
                "query",
                "after",
                "filter",
                "token",
            ]
        ),
        st.one_of(
            st.sampled_from(
                ["get", "put", "patch", "delete", "query", "subscribe", "metrics", "a"]
            ),
            st.recursive(
                st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
                lambda inner: (
                    st.lists(inner, max_size=3)
                    | st.dictionaries(st.text(max_size=4), inner, max_size=3)
                ),
                max_leaves=5,
            ),
        ),
    )
)
def test_any_frame_is_answered_and_never_as_a_failure(talk, frame):
    talk.socket.send(json.dumps(frame))
    talk.send(id="end", type="ping")
    while (answer := talk.next())["id"] != "end":
        assert answer.get("status") != 500, answer


@settings(max_examples=40)
@given(st.binary(max_size=200))
def test_any_bytes_after_the_upgrade_leave_the_node_alive(node, data):
    member = node.members[0]
    with socket.create_connection((member.host, member.http_port), timeout=20) as raw:
        raw.sendall(
            b"GET /api/v1/ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
            + data
        )
        assert raw.recv(12) == b"HTTP/1.1 101"
        raw.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            while raw.recv(4096):
                pass
    assert node.is_ready(0)


def test_a_node_that_stops_says_goodbye(tmp_path):
    cluster = LocalCluster(tmp_path, 1)
    cluster.start()
    wait_ready(cluster)
    with opened(cluster, {"Authorization": f"Bearer {cluster.api_key}"}) as socket:
        talk = Talk(socket)
        assert talk.ask(type="ping")["type"] == "pong"
        assert cluster.stop() == [0]
        with pytest.raises(ConnectionClosed) as caught:
            talk.next()
        assert caught.value.rcvd.code == 1001


class Silence:
    """A connection on which nothing comes."""

    def __init__(self):
        self.closed = asyncio.get_running_loop().create_future()

    def close(self, code, reason):
        self.closed.set_result(code)


@pytest.mark.parametrize(
    ("module_name", "limit", "kind", "code"),
    [
        ("websocket", "AUTH_S", "ApiSession", 4001),
        ("graphql", "INIT_S", "GraphSession", 4408),
    ],
)
async def test_who_says_nothing_is_not_waited_for(monkeypatch, module_name, limit, kind, code):
    sessions = importlib.import_module(f"dataplane.gateways.{module_name}.session")
    assert getattr(sessions, limit) == 5.0
    monkeypatch.setattr(sessions, limit, 0.0)
    connection = Silence()
    session = getattr(sessions, kind)(None, connection, None)
    async with asyncio.timeout(20):
        assert await connection.closed == code
    session.closed()


class Flood:
    """A session that says more than anybody reads."""

    def __init__(self, connection):
        self.connection = connection
        self.ended = asyncio.Event()
        asyncio.get_running_loop().call_soon(self.say_much)

    def say_much(self):
        for _ in range(1_000):
            if self.connection.is_writable:
                self.connection.send(b"x" * 65_536)

    def message(self, text):
        pass

    def resumed(self):
        pass

    def slow_reason(self):
        return "too slow; last 12-0"

    def closed(self):
        self.ended.set()


async def test_a_client_that_does_not_read_is_cut_off_and_told_its_place(monkeypatch):
    sessions = []

    def make(connection):
        sessions.append(Flood(connection))
        return sessions[-1]

    async def app(request):
        def switch(transport, hold):
            return module.Connection(transport, hold, make, blocked_s=0.0)

        return Response(101, switch=switch)

    server = HttpServer(
        app, None, body_bytes_max=1024, connections_max=4, switches=frozenset({"/ws"})
    )
    await server.start("127.0.0.1", 0)
    try:
        async with asyncio.timeout(20):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
            writer.write(b"GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n")
            await reader.readexactly(12)
            rest = await reader.read(-1)
            assert b"\x0f\xa8too slow; last 12-0" in rest
            await sessions[0].ended.wait()
            writer.close()
            assert server.connection_count == 0
            assert server._held_bytes == 0
    finally:
        await server.stop(grace_s=0.1)
