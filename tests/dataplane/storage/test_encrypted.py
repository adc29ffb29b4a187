"""An encrypted store is a store like the others, of which the disk tells nothing."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rocksdict import WriteBatch

from dataplane.storage import encrypted
from dataplane.storage.encrypted import ROWS_MAX, STIR_MAX, EncryptedStore
from dataplane.storage.engine import MemoryStore, RocksStore
from dataplane.storage.errors import UnknownKeyError
from dataplane.storage.ports import KeyValueStore
from dataplane.storage.turning import TurningStore, open_sealed
from tests.dataplane.storage.ciphers import Ring, found_in

FEW = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
KEYS = st.binary(min_size=1, max_size=3).filter(lambda key: key < b"\xff")
VALUES = st.none() | st.binary(max_size=4)
BATCHES = st.lists(st.dictionaries(KEYS, VALUES, max_size=12), max_size=10)


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pages divide and vanish within a few writes."""
    monkeypatch.setattr(encrypted, "ROWS_MAX", 4)
    monkeypatch.setattr(encrypted, "ROWS_NEW", 3)
    monkeypatch.setattr(encrypted, "STIR_MAX", 6)


@pytest.fixture
def ring() -> Ring:
    return Ring()


@pytest.fixture
def store(tmp_path: Path, ring: Ring) -> Iterator[EncryptedStore]:
    opened = EncryptedStore(RocksStore(tmp_path / "state"), ring)
    yield opened
    opened.close()


def assert_same(memory: KeyValueStore, store: KeyValueStore, prefix: bytes, start: bytes) -> None:
    for reverse in (False, True):
        for first in (None, start):
            expected = list(memory.iterate(prefix, start=first, reverse=reverse))
            assert list(store.iterate(prefix, start=first, reverse=reverse)) == expected
        low, high = sorted((prefix, start))
        expected = list(memory.scan(low, high, reverse=reverse))
        assert list(store.scan(low, high, reverse=reverse)) == expected
    keys = [*(key for key, _ in memory.iterate(b"")), prefix, start]
    assert store.get_many(keys) == memory.get_many(keys)
    assert [store.get(key) for key in keys] == memory.get_many(keys)


@FEW
@given(batches=BATCHES, prefix=st.binary(max_size=2), start=KEYS, turn=st.integers(0, 9))
@pytest.mark.usefixtures("small_pages")
def test_it_agrees_with_the_others_also_across_a_change_of_keys(
    tmp_path_factory: pytest.TempPathFactory,
    batches: list[dict[bytes, bytes | None]],
    prefix: bytes,
    start: bytes,
    turn: int,
) -> None:
    path, ring = tmp_path_factory.mktemp("kv"), Ring()
    memory, store = MemoryStore(), EncryptedStore(RocksStore(path), ring)
    for number, batch in enumerate(batches):
        if number == turn:
            ring.add()
        if number > turn:
            store.reseal(1)
        moment, values = store.snapshot(), memory.copy()
        memory.write(batch)
        store.write(batch)
        assert_same(memory, store, prefix, start)
        for key in batch:
            assert moment.get(key) == values.get(key)
        moment.release()
    store.close()
    again = EncryptedStore(RocksStore(path), ring)
    assert_same(memory, again, prefix, start)
    while again.reseal(2):
        pass
    ring.forget_old()
    assert_same(memory, again, prefix, start)
    assert again.damaged_count == 0
    again.close()


@FEW
@given(
    before=BATCHES,
    batches=BATCHES,
    prefix=st.binary(max_size=2).filter(lambda key: key < b"\xff"),
    start=KEYS,
)
@pytest.mark.usefixtures("small_pages")
def test_a_plain_store_turns_encrypted_under_writes_and_reopenings(
    tmp_path_factory: pytest.TempPathFactory,
    before: list[dict[bytes, bytes | None]],
    batches: list[dict[bytes, bytes | None]],
    prefix: bytes,
    start: bytes,
) -> None:
    path, ring = tmp_path_factory.mktemp("kv"), Ring()
    memory, plain = MemoryStore(), RocksStore(path / "state")
    for batch in before:
        memory.write(batch)
        plain.write(batch)
    plain.close()
    store = open_sealed(path / "state", path / "state.sealed", ring)
    for number, batch in enumerate(batches):
        if number % 4 == 3:
            store.close()
            store = open_sealed(path / "state", path / "state.sealed", ring)
        moment, values = store.snapshot(), memory.copy()
        memory.write(batch)
        store.write(batch)
        assert_same(memory, store, prefix, start)
        if isinstance(store, TurningStore):
            store.step(3)
        assert_same(memory, store, prefix, start)
        for key in batch:
            assert moment.get(key) == values.get(key)
        moment.release()
    assert isinstance(store, TurningStore)
    while store.step(5) or store.clear(5):
        pass
    moment = store.snapshot()
    store.finish()
    assert store.is_plain_left
    for key, value in memory.iterate(b""):
        assert moment.get(key) == value
    moment.release()
    assert not store.is_plain_left
    store.close()
    last = open_sealed(path / "state", path / "state.sealed", ring)
    assert isinstance(last, EncryptedStore)
    assert not (path / "state").exists()
    assert_same(memory, last, prefix, start)
    last.close()


def test_pages_divide_and_vanish(store: EncryptedStore) -> None:
    keys = [b"k%05d" % number for number in range(40 * ROWS_MAX)]
    for start in range(0, len(keys), 50):
        store.write(dict.fromkeys(keys[start : start + 50], b"value"))
    divided = store.page_count
    assert len(keys) / (ROWS_MAX + STIR_MAX) < divided < len(keys) / 20
    assert [key for key, _ in store.iterate(b"k")] == keys
    for _ in range(3):
        store.write(dict.fromkeys(keys))
    assert store.page_count < divided / 4
    assert list(store.iterate(b"")) == []


def test_nothing_of_keys_or_values_is_on_disk(tmp_path: Path, ring: Ring) -> None:
    store = EncryptedStore(RocksStore(tmp_path), ring)
    store.write({b"Dcustomer-%d" % n: b"secret body %d" % n for n in range(1_000)})
    store.flush()
    assert not found_in(tmp_path, b"customer", b"secret", b"body")
    store.close()
    assert not found_in(tmp_path, b"customer", b"secret", b"body")
    plain = RocksStore(tmp_path / "plain")
    plain.write({b"Dcustomer-1": b"secret body"})
    assert found_in(tmp_path / "plain", b"customer")
    plain.close()


def rows_of(store: RocksStore) -> list[tuple[bytes, bytes]]:
    return list(store.iterate(b"r"))


def test_a_changed_row_is_absent_and_counted(store: EncryptedStore) -> None:
    store.write({b"a": b"1", b"b": b"2"})
    inner = store._store
    for name, sealed in rows_of(inner):
        for at in (0, 5, 20, len(sealed) - 1):
            changed = sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :]
            inner.write({name: changed})
            seen = store.damaged_count
            found = dict(store.iterate(b""))
            assert len(found) == 1
            assert store.damaged_count == seen + 1
            assert {*store.get_many([b"a", b"b"])} == {*found.values(), None}
        inner.write({name: sealed})
    assert dict(store.iterate(b"")) == {b"a": b"1", b"b": b"2"}


def test_rows_cannot_change_places(store: EncryptedStore) -> None:
    store.write({b"a": b"1", b"b": b"2"})
    inner = store._store
    (first, one), (second, two) = rows_of(inner)
    inner.write({first: two, second: one})
    assert store.get_many([b"a", b"b"]) == [None, None]
    assert list(store.iterate(b"")) == []
    elsewhere = first[:-1] + bytes([first[-1] ^ 1])
    inner.write({first: None, second: None, elsewhere: one})
    assert list(store.iterate(b"")) == []


def test_a_row_that_is_written_again_after_damage_is_there(store: EncryptedStore) -> None:
    store.write({b"a": b"1"})
    name, sealed = rows_of(store._store)[0]
    store._store.write({name: sealed[:-1]})
    assert store.get(b"a") is None
    store.write({b"a": b"1"})
    assert store.get(b"a") == b"1"


def test_another_ring_is_a_missing_key_and_no_damage(tmp_path: Path, ring: Ring) -> None:
    store = EncryptedStore(RocksStore(tmp_path), ring)
    ring.add()
    store.write({b"a": b"1"})
    store.reseal(9)
    store.close()
    inner = RocksStore(tmp_path)
    with pytest.raises(UnknownKeyError, match="key 2"):
        EncryptedStore(inner, Ring())
    inner.close()


def test_what_is_written_after_a_change_of_keys_is_under_the_new_one(
    store: EncryptedStore, ring: Ring
) -> None:
    store.write({b"a": b"1", b"b": b"1"})
    ring.add()
    store.write({b"a": b"2"})
    numbers = sorted(int.from_bytes(sealed[:2], "big") for _, sealed in rows_of(store._store))
    assert numbers == [1, 2]
    assert store.stale_count() == 1
    assert not store.reseal(1)
    numbers = [int.from_bytes(sealed[:2], "big") for _, sealed in rows_of(store._store)]
    assert numbers == [2, 2]
    assert store.stale_count() == 0
    ring.forget_old()
    assert store.get_many([b"a", b"b"]) == [b"2", b"1"]


def test_a_division_that_a_crash_cut_short_loses_nothing(
    tmp_path: Path, ring: Ring, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = EncryptedStore(RocksStore(tmp_path), ring)
    keys = [b"k%04d" % number for number in range(3 * ROWS_MAX)]
    write = RocksStore.write_batch
    written = 0

    def write_one(self: RocksStore, batch: WriteBatch) -> None:
        nonlocal written
        written += 1
        if written > 1:
            raise OSError("killed")
        write(self, batch)

    monkeypatch.setattr(RocksStore, "write_batch", write_one)
    with pytest.raises(OSError, match="killed"):
        store.write(dict.fromkeys(keys, b"v"))
    monkeypatch.setattr(RocksStore, "write_batch", write)
    store.close()
    again = EncryptedStore(RocksStore(tmp_path), ring)
    assert [key for key, _ in again.iterate(b"")] == keys
    again.close()


def test_a_scan_shows_its_own_moment_while_pages_divide(store: EncryptedStore) -> None:
    keys = [b"k%05d" % number for number in range(0, 4_000, 10)]
    store.write(dict.fromkeys(keys, b"old"))
    scan = store.scan(b"k", b"l")
    moment = store.snapshot()
    for start in range(0, 4_000, 100):
        store.write({b"k%05d" % number: b"new" for number in range(start, start + 100)})
    assert list(scan) == [(key, b"old") for key in keys]
    assert moment.get(keys[7]) == b"old"
    assert moment.get(b"k00001") is None
    moment.release()


def test_values_of_a_class_are_gone_with_its_key_and_keys_are_still_listed(
    tmp_path: Path, ring: Ring
) -> None:
    classes = {b"D\0\0\0\1": Ring(seed=7).current}
    store = EncryptedStore(RocksStore(tmp_path), ring, classes)
    rows = {b"D\0\0\0\1p%d" % n: b"body %d" % n for n in range(200)}
    others = {b"D\0\0\0\2p%d" % n: b"body %d" % n for n in range(200)}
    store.write({**rows, **others})
    assert dict(store.iterate(b"D")) == {**rows, **others}
    ring.add()
    while store.reseal(1):
        pass
    assert dict(store.iterate(b"D")) == {**rows, **others}
    classes.clear()
    assert dict(store.iterate(b"D")) == {**dict.fromkeys(rows, b""), **others}
    assert store.damaged_count == 0
    store.close()


def test_rows_that_were_there_before_their_class_are_taken_into_it(
    store: EncryptedStore, tmp_path: Path
) -> None:
    classes = {}
    store._classes = classes
    rows = {b"D\0\0\0\1p%d" % n: b"body %d" % n for n in range(100)}
    store.write({**rows, b"D\0\0\0\2x": b"other"})
    classes[b"D\0\0\0\1"] = Ring(seed=7).current
    store.rewrite(b"D\0\0\0\1")
    assert dict(store.iterate(b"D")) == {**rows, b"D\0\0\0\2x": b"other"}
    classes.clear()
    assert {*dict(store.iterate(b"D")).values()} == {b"", b"other"}
