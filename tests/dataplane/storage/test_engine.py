"""Both engines keep the same promises."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataplane.storage.engine import MemoryStore, RocksStore, prefix_end
from dataplane.storage.errors import DirectoryLockedError
from dataplane.storage.ports import KeyValueStore


@pytest.fixture(params=["memory", "rocks"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[KeyValueStore]:
    opened = MemoryStore() if request.param == "memory" else RocksStore(tmp_path / "state")
    yield opened
    opened.close()


def test_absent_key_is_none(store: KeyValueStore) -> None:
    assert store.get(b"x") is None
    assert store.get_many([b"x", b"y"]) == [None, None]
    assert store.get_many([]) == []


def test_write_puts_replaces_and_deletes(store: KeyValueStore) -> None:
    store.write({b"a": b"1", b"b": b"2", b"empty": b""})
    store.write({b"a": b"3", b"b": None, b"never": None})
    assert store.get_many([b"b", b"a", b"empty"]) == [None, b"3", b""]


def test_iterate_is_ordered_and_stays_inside_the_prefix(store: KeyValueStore) -> None:
    keys = [b"p\x00", b"p", b"p\xff\xff", b"pb", b"pa", b"o\xff", b"q"]
    store.write({key: key for key in keys})
    inside = [b"p", b"p\x00", b"pa", b"pb", b"p\xff\xff"]
    assert [key for key, _ in store.iterate(b"p")] == inside
    assert [key for key, _ in store.iterate(b"p", reverse=True)] == inside[::-1]


@pytest.mark.parametrize(
    ("start", "forward", "backward"),
    [
        (b"pb", [b"pb", b"pd"], [b"pb", b"pa"]),
        (b"pc", [b"pd"], [b"pb", b"pa"]),
        (b"a", [b"pa", b"pb", b"pd"], []),
        (b"z", [], [b"pd", b"pb", b"pa"]),
    ],
)
def test_iterate_from_start(
    store: KeyValueStore, start: bytes, forward: list[bytes], backward: list[bytes]
) -> None:
    store.write(dict.fromkeys([b"o", b"pa", b"pb", b"pd", b"q"], b""))
    assert [key for key, _ in store.iterate(b"p", start=start)] == forward
    assert [key for key, _ in store.iterate(b"p", start=start, reverse=True)] == backward


def test_prefix_of_ff_has_no_end(store: KeyValueStore) -> None:
    assert prefix_end(b"\xff\xff") is None
    store.write({b"\xff\xff\x01": b"1", b"\xff\x01": b"2"})
    assert [key for key, _ in store.iterate(b"\xff\xff")] == [b"\xff\xff\x01"]


@pytest.mark.parametrize("reverse", [False, True])
def test_a_scan_shows_its_own_moment_whatever_is_written_later(
    store: KeyValueStore, reverse: bool
) -> None:
    keys = [b"a", b"b", b"b\x00", b"bc", b"c", b"d"]
    store.write(dict.fromkeys(keys, b"old"))
    scan = store.scan(b"b", b"d", reverse=reverse)
    store.write({b"b": b"new", b"bb": b"new", b"c": None})
    expected = [(key, b"old") for key in keys[1:5]]
    assert list(scan) == (expected[::-1] if reverse else expected)
    now = [b"b", b"b\x00", b"bb", b"bc"]
    assert [key for key, _ in store.scan(b"b", b"d")] == now
    assert list(store.scan(b"x", b"x")) == []


KEYS = st.binary(min_size=1, max_size=3)
BATCHES = st.lists(st.dictionaries(KEYS, st.none() | st.binary(max_size=4), max_size=6), max_size=8)


@settings(
    derandomize=True,
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(batches=BATCHES, prefix=st.binary(max_size=2), start=st.none() | KEYS)
def test_engines_agree(
    tmp_path_factory: pytest.TempPathFactory,
    batches: list[dict[bytes, bytes | None]],
    prefix: bytes,
    start: bytes | None,
) -> None:
    memory, rocks = MemoryStore(), RocksStore(tmp_path_factory.mktemp("kv"))
    for batch in batches:
        memory.write(batch)
        rocks.write(batch)
    for reverse in (False, True):
        left = list(memory.iterate(prefix, start=start, reverse=reverse))
        assert left == list(rocks.iterate(prefix, start=start, reverse=reverse))
        low, high = sorted((prefix, start or b""))
        between = list(memory.scan(low, high, reverse=reverse))
        assert between == list(rocks.scan(low, high, reverse=reverse))
    rocks.close()


def test_rocks_survives_reopening(tmp_path: Path) -> None:
    store = RocksStore(tmp_path)
    store.write({b"a": b"1"})
    store.flush()
    store.close()
    store.close()
    again = RocksStore(tmp_path)
    assert again.get(b"a") == b"1"
    again.close()


def test_rocks_opened_twice_is_refused(tmp_path: Path) -> None:
    store = RocksStore(tmp_path)
    with pytest.raises(DirectoryLockedError):
        RocksStore(tmp_path)
    store.close()


def test_a_snapshot_keeps_what_was_there_and_shows_nothing_later(store: KeyValueStore) -> None:
    store.write({b"a": b"1", b"gone": b"x", b"empty": b""})
    snapshot = store.snapshot()
    store.write({b"a": b"2", b"gone": None, b"new": b"y"})
    store.flush()
    assert [snapshot.get(key) for key in (b"a", b"gone", b"new", b"empty")] == [
        b"1",
        b"x",
        None,
        b"",
    ]
    assert store.get_many([b"a", b"gone", b"new"]) == [b"2", None, b"y"]
    snapshot.release()
    snapshot.release()


def test_a_store_closes_whole_after_its_snapshots_are_released(tmp_path: Path) -> None:
    store = RocksStore(tmp_path / "state")
    store.write({b"a": b"1"})
    snapshot = store.snapshot()
    snapshot.release()
    store.close()
    again = RocksStore(tmp_path / "state")
    assert again.get(b"a") == b"1"
    again.close()
