"""The outbox against a real node: order, bases, conflicts, limits, and a file that outlives all."""

import stat
import zlib

import pytest

from dataplane.client import (
    AsyncClient,
    AsyncOutbox,
    Client,
    ClusterUnreachableError,
    Outbox,
    OutboxError,
    OutboxFullError,
)
from dataplane.client.outbox import RESEND_MS
from dataplane.client.stamps import HybridClock
from tests.dataplane.client.test_client import client, node

__all__ = ["client", "node"]
UNREACHABLE = "http://127.0.0.1:1"


class Hand:
    """A clock moved by the test."""

    def __init__(self) -> None:
        self.ms = 1_700_000_000_000

    def now_ms(self) -> int:
        return self.ms


@pytest.fixture
def path(tmp_path):
    return tmp_path / "outbox.sqlite"


@pytest.fixture
def outbox(path):
    with Outbox(path) as outbox:
        yield outbox


@pytest.fixture
def c(request) -> str:
    return f"c-{zlib.crc32(request.node.name.encode())}"


def test_what_is_queued_is_done_in_order_once_the_cluster_is_there(outbox, client, c):
    outbox.put(c, "x", {"n": 1})
    outbox.patch(c, "x", {"m": 2})
    outbox.update(c, "x", {"$inc": {"n": 10}})
    outbox.update(c, "counter-absent", {"$inc": {"n": 1}})
    outbox.put(c, "gone", {})
    outbox.delete(c, "gone")
    with Client([UNREACHABLE], "adk_x_y") as away:
        report = outbox.flush(away)
    assert isinstance(report.stopped, ClusterUnreachableError)
    assert len(outbox.waiting()) == 6
    report = outbox.flush(client)
    assert (report.done, len(report.conflicts), report.stopped) == (5, 1, None)
    document = client.get(c, "x")
    assert (document["n"], document["m"], document["_version"]) == (11, 2, 3)
    assert client.query(c)["documents"] == [document]
    assert outbox.waiting() == []


def test_a_change_of_what_somebody_else_changed_becomes_a_conflict(outbox, client, c):
    read = client.put(c, "x", {"a": 1, "b": 1})
    outbox.put(c, "x", {**read, "a": 2}, base=read)
    outbox.patch(c, "x", {"b": 2})
    client.patch(c, "x", {"a": 9})
    report = outbox.flush(client)
    assert (report.done, len(report.conflicts)) == (0, 2)
    kept = {entry["_id"]: entry for entry in client.conflicts(c)}
    assert set(kept) == set(report.conflicts)
    first = kept[report.conflicts[0]]
    assert (first["mine"], first["theirs"]["a"]) == ({"a": 2, "b": 1}, 9)
    assert first["base"] == {"a": 1, "b": 1}
    assert client.conflict_resolve(c, first["_id"], take="mine")["a"] == 2
    second = kept[report.conflicts[1]]
    settled = client.conflict_resolve(
        c, second["_id"], document={"a": 3}, if_version=read["_version"] + 2
    )
    assert settled["a"] == 3
    assert list(client.conflicts(c)) == []


def test_a_merging_collection_merges_what_was_queued(outbox, client, c):
    client.collection_put(c, {"conflict_policy": "merge_patch"})
    read = client.put(c, "x", {"a": 1, "b": 1, "c": 1})
    outbox.put(c, "x", {**read, "a": 2}, base=read)
    outbox.patch(c, "x", {"b": 2})
    client.patch(c, "x", {"c": 9})
    assert outbox.flush(client).done == 2
    document = client.get(c, "x")
    assert (document["a"], document["b"], document["c"]) == (2, 2, 9)


def test_a_create_that_finds_a_document_is_a_conflict_and_so_is_what_follows(outbox, client, c):
    client.put(c, "x", {"theirs": True})
    outbox.put(c, "x", {"n": 1})
    outbox.put(c, "x", {"n": 2})
    outbox.delete(c, "x")
    assert len(outbox.flush(client).conflicts) == 3
    assert client.get(c, "x")["theirs"]


def test_what_the_cluster_will_never_take_waits_for_a_person(outbox, client, c):
    bad = outbox.put(c, "x", {"_mine": 1})
    outbox.put(c, "y", {})
    report = outbox.flush(client)
    assert (report.done, report.refused) == (1, [bad])
    (failure,) = outbox.failures()
    assert (failure.number, failure.code, failure.value) == (bad, "invalid", {"_mine": 1})
    assert outbox.retry(bad)
    assert outbox.flush(client).refused == [bad]
    assert outbox.discard(bad)
    assert not outbox.discard(bad)
    assert outbox.failures() == []


def test_a_wrong_token_stops_and_loses_nothing(outbox, node, c):
    outbox.put(c, "x", {})
    with Client(node.urls, "adk_wrong_key") as stranger:
        report = outbox.flush(stranger)
    assert report.stopped.code == "unauthenticated"
    assert len(outbox.waiting()) == 1


def test_an_answer_that_was_lost_is_not_an_operation_done_twice(outbox, client, c, monkeypatch):
    outbox.update(c, "x", {"$inc": {"n": 1}})
    client.put(c, "x", {"n": 0})
    real = client.bulk

    def lose(*arguments, **options):
        real(*arguments, **options)
        raise ClusterUnreachableError("the answer was lost")

    monkeypatch.setattr(client, "bulk", lose)
    assert outbox.flush(client).stopped is not None
    monkeypatch.undo()
    assert outbox.flush(client).done == 1
    assert client.get(c, "x")["n"] == 1


def test_what_was_sent_longer_ago_than_keys_are_remembered_is_not_sent_again(path, client, c):
    clock = Hand()
    with Outbox(path, now_ms=clock.now_ms) as outbox, Client([UNREACHABLE], "adk_x_y") as away:
        number = outbox.update(c, "x", {"$inc": {"n": 1}})
        clock.ms += 10 * RESEND_MS
        assert outbox.flush(away).stopped is not None
        clock.ms += RESEND_MS
        report = outbox.flush(client)
        assert report.refused == [number]
        assert outbox.failures()[0].code == "outcome_unknown"


def test_the_outbox_is_bounded(path):
    with Outbox(path, operations_max=2, bytes_max=100) as outbox:
        with pytest.raises(OutboxFullError):
            outbox.put("c", "x", {"a": "x" * 100})
        outbox.put("c", "x", {})
        outbox.put("c", "x", {})
        with pytest.raises(OutboxFullError):
            outbox.put("c", "x", {})


def test_a_change_without_a_base_is_refused_when_queued(outbox):
    for queue in (
        lambda: outbox.patch("c", "x", {}),
        lambda: outbox.delete("c", "x"),
        lambda: outbox.put("c", "x", {}, base={"no": "version"}),
    ):
        with pytest.raises(OutboxError):
            queue()


def test_the_file_is_private_outlives_the_process_and_is_checked(path, tmp_path):
    with Outbox(path) as outbox:
        outbox.put("c", "x", {"n": 1})
        stamp = outbox.waiting()[0].stamp
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with Outbox(path, now_ms=lambda: 0) as outbox:
        outbox.put("c", "y", {"n": 1})
        first, second = outbox.waiting()
        assert first.stamp == stamp < second.stamp
        outbox.store._sql.execute("PRAGMA user_version=9")
    with pytest.raises(OutboxError, match="format 9"):
        Outbox(path)
    (tmp_path / "text").write_text("no database at all, but long enough to be taken for one" * 20)
    with pytest.raises(OutboxError, match="cannot be used"):
        Outbox(tmp_path / "text")


def test_stamps_rise_also_when_the_clock_is_set_back():
    clock = Hand()
    stamps = HybridClock(clock.now_ms, "d", "")
    seen = [stamps.stamp() for _ in range(3)]
    clock.ms -= 5_000
    seen += [stamps.stamp() for _ in range(0x10000)]
    clock.ms += 10_000
    seen.append(HybridClock(clock.now_ms, "d", seen[-1]).stamp())
    assert seen == sorted(set(seen))


async def test_the_asyncio_outbox_shares_the_file(path, node, c):
    with Outbox(path) as outbox:
        outbox.put(c, "x", {"n": 1})
    async with AsyncOutbox(path) as outbox, AsyncClient(node.urls, node.api_key) as client:
        await outbox.patch(c, "x", {"m": 2})
        await outbox.update(c, "x", {"$inc": {"n": 1}})
        bad = await outbox.put(c, "y", {"_no": 1})
        report = await outbox.flush(client)
        assert (report.done, report.refused) == (3, [bad])
        document = await client.get(c, "x")
        assert (document["n"], document["m"]) == (2, 2)
        assert await outbox.retry(bad)
        await outbox.flush(client)
        assert len(await outbox.failures()) == 1
        assert await outbox.discard(bad)
        stale = {**document, "_version": 1}
        await outbox.delete(c, "x", base=stale)
        (conflict,) = (await outbox.flush(client)).conflicts
        assert [entry["_id"] async for entry in client.conflicts(c)] == [conflict]
        assert await client.conflict_resolve(c, conflict, take="mine") is None
        assert await outbox.waiting() == []
