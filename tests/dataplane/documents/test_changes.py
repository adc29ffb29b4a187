"""The rows of the change feed: complete, in order, the same everywhere, and bounded."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataplane.documents import changes as module
from dataplane.documents.changes import Changes, PlacedRow
from dataplane.documents.commands import Barrier, CollectionDrop, Create, Delete, Op, Patch, Put
from dataplane.documents.state import StateMachine
from dataplane.documents.tables import Batch, decode_document_row
from dataplane.documents.values import unpack_document
from dataplane.storage.engine import MemoryStore
from tests.dataplane.documents.test_state import GENESIS, Driver, doc

FAR = 10**9


@pytest.fixture
def memory() -> Driver:
    return Driver(MemoryStore())


def read(driver: Driver, sequence: int = 0, position: int | None = None) -> list[PlacedRow]:
    return driver.machine.view.changes.read(sequence, position, bytes_max=FAR)


def told(driver: Driver) -> list[tuple[str, str, str, int]]:
    return [change[:4] for placed in read(driver) for change in placed.row.changes]


def test_each_change_of_a_document_is_told(memory: Driver) -> None:
    memory.do(Create("a", "x", doc(n=1)))
    memory.do(Put("a", "x", doc(n=2)))
    memory.do(Patch("a", "x", doc(m=3)))
    memory.do(Delete("a", "x"))
    memory.do(Put("a", "x", doc(n=4)))
    memory.do(CollectionDrop("a"))
    assert told(memory) == [
        ("insert", "a", "x", 1),
        ("replace", "a", "x", 2),
        ("update", "a", "x", 3),
        ("delete", "a", "x", 3),
        ("insert", "a", "x", 4),
        ("drop", "a", "", 0),
    ]
    row = read(memory)[2].row.changes[0][4]
    assert row is not None
    record = decode_document_row("x", row)
    assert (record.version, unpack_document(record.body)) == (3, {"m": 3, "n": 2})


def test_what_changes_nothing_is_not_told(memory: Driver) -> None:
    memory.do(Delete("a", "x"))
    memory.do(Put("a", "x", doc(n=1), if_version=7))
    assert read(memory) == []


def test_a_batch_is_one_row_and_positions_count_through_it(memory: Driver) -> None:
    memory.bundle(*[Put("a", f"{n}", doc(n=n)) for n in range(5)])
    (placed,) = read(memory)
    assert (placed.sequence, placed.first, len(placed.row.changes)) == (2, 0, 5)
    for position in range(4):
        assert read(memory, 2, position) == [placed]
    assert read(memory, 2, 4) == []
    assert read(memory, 2) == []


def test_a_batch_that_changes_very_much_becomes_several_rows(memory: Driver) -> None:
    memory.bundle(*[Put("a", f"{n}", doc(text="x" * 1_000_000)) for n in range(9)])
    firsts = [placed.first for placed in read(memory)]
    assert firsts == [0, 4, 8]
    assert [placed.first for placed in read(memory, 2, 5)] == [4, 8]
    assert [placed.first for placed in read(memory, 2, 7)] == [8]
    whole = memory.machine.view.changes.read(1, None, bytes_max=1)
    assert [placed.first for placed in whole] == [0], "at least one row, however large"


def test_a_transaction_is_not_split_between_rows() -> None:
    batch = Batch(MemoryStore())
    batch.documents = [("insert", "a", f"{n}", 1, b"x" * 1_500_000) for n in range(6)]
    batch.groups = [(1, 4)]
    changes = Changes(MemoryStore(), 0)
    changes.record(batch, 1, 1)
    rows = [key for key in batch.own if key[:1] == b"c"]
    assert [int.from_bytes(key[9:], "big") for key in rows] == [0, 5]


OPS = st.lists(
    st.lists(
        st.one_of(
            st.builds(Put, st.sampled_from("ab"), st.sampled_from("xyz"), st.just(doc(n=1))),
            st.builds(Delete, st.sampled_from("ab"), st.sampled_from("xyz")),
            st.builds(CollectionDrop, st.sampled_from("ab")),
        ),
        min_size=1,
        max_size=6,
    ),
    max_size=12,
)


@given(OPS)
@settings(max_examples=60)
def test_nodes_hold_the_same_rows_and_every_place_can_be_resumed(batches: list[list[Op]]) -> None:
    left, right = Driver(MemoryStore()), Driver(MemoryStore())
    for ops in batches:
        left.bundle(*ops)
        right.bundle(*ops)
        right.machine = StateMachine(right.store, GENESIS)
    rows = [list(driver.store.iterate(b"c")) for driver in (left, right)]
    assert rows[0] == rows[1]
    every = [
        (placed.sequence, position)
        for placed in read(left)
        for position in range(len(placed.row.changes))
    ]
    for index, place in enumerate(every):
        behind = [
            (placed.sequence, position)
            for placed in read(left, *place)
            for position in range(len(placed.row.changes))
            if (placed.sequence, position) > place
        ]
        assert behind == every[index + 1 :]


def kept(driver: Driver, *, keep_bytes: int = FAR, keep_ms: int = FAR) -> Changes:
    """Let a driver keep little, as from a restart on."""
    changes = Changes(driver.store, driver.machine.applied, keep_bytes=keep_bytes, keep_ms=keep_ms)
    driver.machine._changes = driver.machine.view.changes = changes
    return changes


@pytest.mark.parametrize("is_restarting", [False, True])
def test_rows_are_bounded_in_bytes(
    memory: Driver, monkeypatch: pytest.MonkeyPatch, *, is_restarting: bool
) -> None:
    monkeypatch.setattr(module, "SWEEP_ROWS", 4)
    limit = 20_000
    changes = kept(memory, keep_bytes=limit)
    for number in range(400):
        memory.do(Put("a", "x", doc(n=number, text="x" * (number % 100))))
        if is_restarting and number % 50 == 0:
            changes = kept(memory, keep_bytes=limit)
    stored = list(memory.store.iterate(b"c"))
    size = sum(len(row) for _, row in stored)
    assert limit * 0.8 < changes.held_bytes <= limit
    assert size < limit * 1.2
    rows = read(memory, changes.floor)
    assert sum(len(placed.row.changes) for placed in rows) == memory.machine.applied - changes.floor
    assert all(before.sequence + 1 == after.sequence for before, after in pairwise(rows))


def test_rows_are_bounded_in_age(memory: Driver) -> None:
    changes = kept(memory, keep_ms=60_000)
    for _ in range(200):
        memory.now += 1_000
        memory.do(Put("a", "x", doc()))
    oldest = read(memory, changes.floor)[0].row.at_ms
    assert memory.now - 63_000 < oldest <= memory.now - 59_000


def test_what_is_old_goes_also_when_nobody_writes(memory: Driver) -> None:
    changes = kept(memory, keep_ms=60_000)
    for _ in range(5):
        memory.do(Put("a", "x", doc()))
    changes = kept(memory, keep_ms=60_000)
    memory.now += 61_000
    for _ in range(3):
        memory.do(Barrier())
    assert changes.held_bytes == 0
    assert list(memory.store.iterate(b"c")) == []
    memory.do(Put("a", "x", doc()))
    assert len(read(memory, changes.floor)) == 1


def test_a_restart_knows_what_it_holds(memory: Driver) -> None:
    changes = kept(memory, keep_bytes=20_000)
    for number in range(300):
        memory.do(Put("a", "x", doc(n=number)))
    again = kept(memory, keep_bytes=20_000)
    assert (again.floor, again.held_bytes) == (changes.floor, changes.held_bytes)


def test_a_copied_state_has_nothing_of_before(memory: Driver) -> None:
    memory.do(Put("a", "x", doc()))
    memory.machine.copies._copy._store.write({b"z": (2).to_bytes(8, "big") + memory.machine.root()})
    memory.machine.copies._copy.finish()
    memory.machine._load()
    assert memory.machine.view.changes.floor == 2
    assert read(memory) == []
    memory.do(Put("a", "x", doc()))
    again = StateMachine(memory.store, GENESIS)
    assert again.view.changes.floor == 2
