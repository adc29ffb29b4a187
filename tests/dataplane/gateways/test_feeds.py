"""Change feeds: what a reader is told, for how long, and how it goes on where it stopped."""

import asyncio
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from dataplane.documents.changes import Changes
from dataplane.documents.commands import CollectionDrop, Create, Delete, KeyPut, KeyRevoke, Patch
from dataplane.documents.commands import Put as PutOp
from dataplane.gateways.auth import Caller
from dataplane.gateways.errors import Problem
from dataplane.gateways.feeds import (
    FEEDS_PER_KEY_MAX,
    Event,
    Feed,
    FeedRequest,
    Feeds,
    Place,
    parse_place,
)
from dataplane.storage.engine import MemoryStore
from tests.dataplane.documents.test_state import Driver, doc
from tests.dataplane.gateways.conftest import problem

DEADLINE_S = 20


class Reader:
    """A state machine with feeds on it, and keys for them."""

    def __init__(self, heartbeat_s: float = DEADLINE_S) -> None:
        self.driver = Driver(MemoryStore())
        self.is_sound = True
        self.feeds = Feeds(
            self.driver.machine.view,
            is_sound=lambda: self.is_sound,
            now_ms=lambda: self.driver.now,
            heartbeat_s=heartbeat_s,
        )

    def caller(self, *scopes: str, name: str = "reader", **options: object) -> Caller:
        scopes = scopes or ("documents:read",)
        digest = hashlib.sha256(name.encode()).digest()
        self.driver.do(KeyPut(name, digest, name, scopes, **options))
        record = self.driver.machine.view.key(name)
        assert record is not None
        return Caller(record)

    def open(self, caller: Caller | None = None, **asked: object) -> Feed:
        return self.feeds.open(caller or self.caller(), FeedRequest(**asked))


@pytest.fixture
def reader() -> Reader:
    return Reader()


async def take(feed: Feed, count: int) -> list[Event]:
    """Read so many events."""
    events: list[Event] = []
    async with asyncio.timeout(DEADLINE_S):
        async for delivery in feed:
            events += delivery.events
            if len(events) >= count:
                return events
    raise AssertionError("a feed does not end by itself")


def told(events: list[Event]) -> list[tuple[str, str, str]]:
    return [(event.operation, event.collection, event.id) for event in events]


async def test_a_feed_tells_what_was_and_what_comes(reader: Reader) -> None:
    do = reader.driver.do
    do(Create("a", "x", doc(n=1)))
    async with reader.open(after=Place(0)) as feed:
        assert told(await take(feed, 1)) == [("insert", "a", "x")]
        waiting = asyncio.create_task(take(feed, 3))
        await asyncio.sleep(0)
        do(Patch("a", "x", doc(m=2)))
        do(Delete("a", "x"))
        do(CollectionDrop("a"))
        events = await waiting
    assert told(events) == [("update", "a", "x"), ("delete", "a", "x"), ("drop", "a", "")]
    assert json.loads(events[0].rendered()) == {
        "sequence": events[0].place.sequence,
        "position": 0,
        "time": "2023-11-14T22:13:20.000000Z",
        "operation": "update",
        "collection": "a",
        "id": "x",
        "version": 2,
        "document": {
            "_id": "x",
            "_version": 2,
            "_created": "2023-11-14T22:13:20.000000Z",
            "_updated": "2023-11-14T22:13:20.000000Z",
            "n": 1,
            "m": 2,
        },
    }
    assert "document" not in json.loads(events[0].rendered(with_document=False))
    assert "document" not in json.loads(events[1].rendered())
    assert "id" not in json.loads(events[2].rendered())


async def test_a_feed_without_a_place_begins_now(reader: Reader) -> None:
    reader.driver.do(Create("a", "x", doc()))
    async with reader.open() as feed:
        reader.driver.do(Create("a", "y", doc()))
        assert told(await take(feed, 1)) == [("insert", "a", "y")]


async def test_a_feed_goes_on_behind_every_event(reader: Reader) -> None:
    for number in range(20):
        ops = [PutOp("a", f"{number}-{part}", doc()) for part in range(number % 4 + 1)]
        reader.driver.bundle(*ops)
    async with reader.open(after=Place(0)) as feed:
        every = await take(feed, 50)
    for index, event in enumerate(every[:-1]):
        async with reader.open(after=parse_place(str(event.place))) as feed:
            rest = await take(feed, len(every) - index - 1)
        assert [e.rendered() for e in rest] == [e.rendered() for e in every[index + 1 :]]


async def test_collections_and_filters_narrow_a_feed(reader: Reader) -> None:
    do = reader.driver.do
    for name in ("a", "b", "c"):
        for number in range(3):
            do(Create(name, f"{number}", doc(n=number)))
    do(Delete("a", "0"))
    async with reader.open(
        after=Place(0), collections=("a", "b"), filter={"n": {"$gt": 1}}
    ) as feed:
        events = await take(feed, 3)
        assert told(events) == [("insert", "a", "2"), ("insert", "b", "2"), ("delete", "a", "0")]
        assert feed.place == events[-1].place


async def test_a_key_is_told_of_its_collections_alone(reader: Reader) -> None:
    caller = reader.caller(collections=("logs-*",))
    with pytest.raises(Problem) as refused:
        reader.open(caller, collections=("people",))
    assert refused.value.code == "forbidden"
    async with reader.open(caller, after=Place(0)) as feed:
        reader.driver.do(Create("people", "x", doc()))
        reader.driver.do(Create("logs-1", "x", doc()))
        assert told(await take(feed, 1)) == [("insert", "logs-1", "x")]


async def test_what_belongs_to_the_cluster_is_for_those_who_run_it(reader: Reader) -> None:
    kept = PutOp("a", "x", doc(), if_version=9, idempotency=b"i" * 32, stamp="s")
    administrator = reader.caller("documents:read", "cluster:admin", name="admin")
    with pytest.raises(Problem) as refused:
        reader.open(collections=("_conflicts",))
    assert refused.value.code == "forbidden"
    async with (
        reader.open(administrator, collections=("_conflicts",)) as all_of_it,
        reader.open(administrator) as feed,
    ):
        reader.driver.do(kept)
        reader.driver.do(Create("a", "x", doc()))
        assert [event.collection for event in await take(all_of_it, 1)] == ["_conflicts"]
        assert [event.collection for event in await take(feed, 1)] == ["a"]


async def test_a_feed_ends_with_its_key(reader: Reader) -> None:
    revoked, expiring = (
        reader.caller(name="one"),
        reader.caller(name="two", expires_ms=1_700_003_600_000),
    )
    narrowed = reader.caller(name="three")
    for caller, end in (
        (revoked, lambda: reader.driver.do(KeyRevoke("one"))),
        (expiring, lambda: setattr(reader.driver, "now", 1_700_003_600_000)),
        (narrowed, lambda: reader.caller("documents:write", name="three")),
    ):
        async with reader.open(caller) as feed:
            end()
            reader.driver.do(Create("a", caller.key.name, doc()))
            with pytest.raises(Problem) as ended:
                await take(feed, 1)
        expected = "forbidden" if caller is narrowed else "unauthenticated"
        assert ended.value.code == expected
    assert reader.feeds.count == 0


async def test_a_quiet_feed_shows_that_it_is_alive_and_where_it_is() -> None:
    reader = Reader(heartbeat_s=0.001)
    async with reader.open(after=Place(0), collections=("a",)) as feed:
        reader.driver.do(Create("b", "x", doc()))
        delivery = await anext(feed)
    assert delivery == (Place(reader.driver.machine.applied, 0), ())


async def test_a_place_that_is_not_known_any_more_is_refused(reader: Reader) -> None:
    for _ in range(9):
        reader.driver.do(PutOp("a", "x", doc()))
    reader.driver.do(PutOp("a", "y", doc()))
    reader.driver.machine.view.changes = Changes(MemoryStore(), 7)
    with pytest.raises(Problem) as gone:
        reader.open(after=Place(6, 2))
    assert gone.value.code == "resync_required"
    assert gone.value.fields == {"last": "6-2", "earliest": 7}
    reader.open(after=Place(7))


async def test_a_reader_is_told_when_it_is_too_slow(reader: Reader) -> None:
    async with reader.open(after=Place(0), behind_max=3) as feed:
        for number in range(9):
            reader.driver.do(Create("a", f"{number}", doc()))
        assert len(await take(feed, 9)) == 9, "who catches up is not slow"
        waiting = asyncio.create_task(take(feed, 1))
        for _ in range(5):
            await asyncio.sleep(0)
        reader.driver.do(Create("b", "x", doc()))
        await waiting
        last = feed.place
        for number in range(4):
            reader.driver.do(Create("c", f"{number}", doc()))
        with pytest.raises(Problem) as slow:
            await anext(feed)
    assert (slow.value.code, slow.value.fields["last"]) == ("overrun", str(last))


async def test_feeds_are_bounded_and_end_with_the_node(reader: Reader) -> None:
    caller = reader.caller()
    feeds = [reader.open(caller) for _ in range(FEEDS_PER_KEY_MAX)]
    for feed in feeds:
        await feed.__aenter__()
    with pytest.raises(Problem) as refused:
        reader.open(caller)
    assert refused.value.code == "rate_limited"
    waiting = asyncio.create_task(take(feeds[0], 1))
    await asyncio.sleep(0)
    reader.feeds.close()
    with pytest.raises(Problem) as ended:
        await waiting
    assert ended.value.code == "not_ready"


async def test_a_wrong_state_is_not_told_of(reader: Reader) -> None:
    reader.is_sound = False
    with pytest.raises(Problem) as refused:
        reader.open()
    assert refused.value.code == "not_ready"


# --- Over HTTP -----------------------------------------------------------------------------------


@contextmanager
def listening(api: httpx.Client, **params: object) -> Iterator[Iterator[dict[str, str]]]:
    """Read a feed as server-sent events: dictionaries of fields."""
    headers = params.pop("headers", {})
    with api.stream("GET", "/changes", params=params, headers=headers) as response:
        assert response.status_code == 200, response.read()
        assert response.headers["content-type"] == "text/event-stream"
        yield events_of(response.iter_lines())


def events_of(lines: Iterator[str]) -> Iterator[dict[str, str]]:
    event: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(": ")
            event[name] = value
        else:
            yield event
            event = {}


def test_a_feed_over_http(api: httpx.Client, collection: str, documents: str) -> None:
    with listening(api, collection=collection) as events:
        opening = next(events)
        assert opening["retry"] == "1000"
        api.put(f"{documents}/x", json={"n": 1})
        api.put(f"{documents}/x", json={"n": 2})
        api.delete(f"{documents}/x")
        heard = [next(events) for _ in range(3)]
    bodies = [json.loads(event["data"]) for event in heard]
    assert [body["operation"] for body in bodies] == ["insert", "replace", "delete"]
    assert [body.get("document", {}).get("n") for body in bodies] == [1, 2, None]
    for place, rest in ((opening["id"], heard), (heard[0]["id"], heard[1:])):
        with listening(api, collection=collection, after=place) as events:
            assert [next(events)["id"], *[next(events) for _ in rest]] == [place, *rest]
    last = {"Last-Event-ID": heard[1]["id"]}
    with listening(api, collection=collection, after=0, headers=last, include="none") as events:
        next(events)
        body = json.loads(next(events)["data"])
        assert body["operation"] == "delete"


def test_a_feed_over_http_ends_with_its_key(api: httpx.Client, make_key, documents: str) -> None:
    headers, key = make_key("documents:read")
    with listening(api, headers=headers) as events:
        next(events)
        assert api.delete(f"/keys/{key}").status_code == 204
        api.put(f"{documents}/x", json={})
        ended = next(events)
        assert ended["event"] == "end"
        assert json.loads(ended["data"])["code"] == "unauthenticated"
        assert list(events) == []


def test_wrong_feeds_are_refused(api: httpx.Client, make_key) -> None:
    for params in ({"after": "x"}, {"after": "1-2-3"}, {"include": "all"}, {"filter": '{"$x":1}'}):
        problem(api.get("/changes", params=params), 422, "invalid")
    problem(api.get("/changes", params={"filter": "["}), 400, "malformed")
    headers, _ = make_key("documents:write")
    problem(api.get("/changes", headers=headers), 403, "forbidden")
    head = api.head("/changes")
    assert (head.status_code, head.content) == (200, b"")
