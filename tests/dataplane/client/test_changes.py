"""The change feed through the clients: cut anywhere, and over a node that dies."""

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataplane.client import (
    ApiError,
    AsyncClient,
    Client,
    ClusterUnreachableError,
    NotReadyError,
)
from dataplane.client.feed import Feed
from dataplane.client.local import LocalCluster
from tests.processes.conftest import wait_ready

STREAM = (
    "retry: 2000\nid: 0\n\n"
    'id: 5-0\ndata: {"sequence":5,"id":"a\u2028b"}\n\n'
    ": alive\nid: 7\n\n"
    'id: 8-1\r\ndata: {"sequence":8}\r\n\r\n'
).encode()


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    cluster = LocalCluster(tmp_path_factory.mktemp("node"), 1)
    cluster.start()
    wait_ready(cluster)
    yield cluster
    cluster.kill()


def feed_of(**options) -> Feed:
    return Feed(**{"after": None, "collections": (), "filter": None, "documents": True, **options})


@given(st.lists(st.integers(0, len(STREAM)), max_size=6))
def test_a_stream_may_come_in_any_pieces(cuts):
    feed, edges = feed_of(), sorted({0, *cuts, len(STREAM)})
    pieces = [STREAM[start:end] for start, end in pairwise(edges)]
    changes = [change for piece in pieces for change in feed.take(piece)]
    assert changes == [
        {"place": "5-0", "sequence": 5, "id": "a\u2028b"},
        {"place": "8-1", "sequence": 8},
    ]
    assert (feed.place, feed.retry_s) == ("8-1", 2.0)


def test_half_an_event_is_not_believed_when_the_line_is_cut():
    feed = feed_of(after=3)
    assert feed.take(b'id: 4-0\ndata: {"seq') == []
    assert feed.call().path == "/api/v1/changes?after=3"
    assert feed.take(b"id: 4-0\ndata: {}\n\n") == [{"place": "4-0"}]
    assert feed.call().path == "/api/v1/changes?after=4-0"


def test_an_end_that_a_node_explains_is_an_error():
    feed = feed_of()
    body = msgspec.json.encode({"status": 410, "code": "resync_required", "detail": "gone"})
    with pytest.raises(ApiError) as ended:
        feed.take(b"event: end\ndata: " + body + b"\n\n")
    assert ended.value.code == "resync_required"
    with pytest.raises(ApiError):
        feed.interrupted(ended.value)
    feed.interrupted(NotReadyError(503, "not_ready", "", {}))


def test_a_feed_goes_on_where_it_was_when_its_node_comes_back(node):
    with Client(node.urls, node.api_key) as client, Client(node.urls, node.api_key) as other:
        other.put("fed", "a", {"n": 1})
        other.put("elsewhere", "a", {"n": 1})
        feed = client.changes(after=0, collections=["fed"])
        first = next(feed)
        assert (first["operation"], first["document"]["n"]) == ("insert", 1)
        other.patch("fed", "a", {"n": 2})
        assert next(feed)["operation"] == "update"
        node.kill(0)
        node.start(0)
        wait_ready(node)
        other.delete("fed", "a")
        assert next(feed)["operation"] == "delete"
        feed.close()
        again = client.changes(after=first["place"], collections=["fed"], documents=False)
        assert [next(again)["operation"] for _ in range(2)] == ["update", "delete"]


async def test_the_asyncio_client_reads_the_same(node):
    async with AsyncClient(node.urls, node.api_key) as client:
        await client.put("afed", "a", {"n": 1})
        await client.put("afed", "b", {"n": 2})
        feed = client.changes(after=0, collections=["afed"], filter={"n": {"$gt": 1}})
        assert (await anext(feed))["id"] == "b"
        await feed.aclose()


def test_a_feed_that_cannot_begin_says_why(node):
    with (
        Client(["http://127.0.0.1:9"], "adk_a_b") as client,
        pytest.raises(ClusterUnreachableError),
    ):
        next(client.changes())
    with Client(node.urls, "adk_a_b") as client, pytest.raises(ApiError) as refused:
        next(client.changes())
    assert refused.value.code == "unauthenticated"
