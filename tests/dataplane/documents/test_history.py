"""The history of a document: all that the rows know of it, newest first, and where it begins."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataplane.documents import history as module
from dataplane.documents.audit_commands import EraseBegin, EraseStep
from dataplane.documents.changes import Changes
from dataplane.documents.commands import (
    CollectionDrop,
    CollectionPut,
    Delete,
    Op,
    Patch,
    Put,
    Transact,
)
from dataplane.documents.history import NEWEST, Found, Version, history_steps
from dataplane.documents.subjects import subject_hash
from dataplane.documents.tables import Batch
from dataplane.storage.engine import MemoryStore
from tests.dataplane.documents.test_state import Driver, doc

FAR = 10**9
PLACE = ("a", "x")


@pytest.fixture
def memory() -> Driver:
    return Driver(MemoryStore())


def ask(
    changes: Changes, place: tuple[str, str] = PLACE, *, before=NEWEST, count_max: int = 1_000
) -> Found:
    steps = history_steps(lambda: changes, place, before=before, count_max=count_max)
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return done.value


def whole(changes: Changes, place: tuple[str, str], count_max: int) -> tuple[list[Version], object]:
    """Return all pages as one."""
    found, before = [], NEWEST
    while True:
        page = ask(changes, place, before=before, count_max=count_max)
        found += page.versions
        if page.beginning is not None:
            return found, page.beginning
        reached = (found[-1].sequence, found[-1].position)
        assert reached < before, "pages go on"
        before = reached


def brief(found: Found) -> list[tuple[str, int]]:
    return [(version.operation, version.version) for version in found.versions]


def test_each_version_is_told_back_to_the_first(memory: Driver) -> None:
    memory.do(Put("a", "x", doc(n=1)))
    memory.do(Put("a", "xx", doc(n=1)))
    memory.do(Put("ax", "x", doc(n=1)))
    memory.do(Patch("a", "x", doc(m=2)))
    memory.do(Put("a", "x", doc(n=3)))
    found = ask(memory.machine.view.changes)
    assert brief(found) == [("replace", 3), ("update", 2), ("insert", 1)]
    assert found.beginning == (2, "created")
    assert [version.sequence for version in found.versions] == [6, 5, 2]


def test_earlier_lives_of_an_id_belong_to_it(memory: Driver) -> None:
    memory.do(Put("a", "x", doc(n=1)))
    memory.do(Delete("a", "x"))
    memory.do(Put("a", "x", doc(n=2)))
    found = ask(memory.machine.view.changes)
    assert brief(found) == [("insert", 2), ("delete", 1), ("insert", 1)]


def test_nothing_is_told_from_before_the_collection_was_dropped(memory: Driver) -> None:
    memory.do(Put("a", "x", doc(n=1)))
    memory.do(CollectionDrop("a"))
    assert ask(memory.machine.view.changes) == ([], (3, "dropped"))
    assert ask(memory.machine.view.changes, before=(3, 0)) == ([], (3, "dropped")), (
        "nor by its place"
    )
    memory.do(Put("a", "x", doc(n=2)))
    found = ask(memory.machine.view.changes)
    assert (brief(found), found.beginning) == ([("insert", 2)], (3, "dropped"))


def test_nothing_is_told_from_before_a_person_was_erased(memory: Driver) -> None:
    subject, salt = subject_hash(b"s" * 16, "ada"), b"s" * 16
    memory.do(CollectionPut("a", doc(subject="who")))
    memory.do(Put("a", "x", doc(who="ada")))
    memory.do(EraseBegin(b"e" * 16, subject, salt))
    assert memory.do(EraseStep(b"e" * 16, "a", ("x",))).version == 1
    found = ask(memory.machine.view.changes)
    assert (brief(found), found.beginning) == ([("erase", 1)], (5, "erased"))
    memory.do(Put("a", "x", doc(who="bob")))
    assert brief(ask(memory.machine.view.changes)) == [("insert", 2), ("erase", 1)]
    assert ask(memory.machine.view.changes, before=(5, 0)) == ([], (5, "erased")), (
        "nor by its place"
    )


def test_a_transaction_is_told_with_its_versions(memory: Driver) -> None:
    memory.do(Transact((Put("a", "y", doc()), Put("a", "x", doc(n=1)), Put("a", "x", doc(n=2)))))
    found = ask(memory.machine.view.changes)
    assert [(v.position, v.version, v.transaction) for v in found.versions] == [
        (2, 2, (0, 3)),
        (1, 1, (0, 3)),
    ]


def test_it_is_told_why_older_versions_are_forgotten(memory: Driver) -> None:
    store = MemoryStore()
    changes = Changes(store, 0, keep_ms=1_000)
    for sequence in range(1, 9):
        batch = Batch(store)
        batch.documents = [("replace", "a", "x", sequence, b"h" * 24)]
        changes.record(batch, sequence, 500 * sequence)
        store.write(batch.own)
    found = ask(changes)
    assert found.versions[-1].version == changes.floor + 1 > 1
    assert found.beginning == (changes.floor, "forgotten")
    again = Changes(store, 8, keep_ms=1_000)
    assert ask(again) == found, "a node that starts again still knows why"
    assert ask(Changes(MemoryStore(), 7)) == ([], (7, "copied"))
    batch = Batch(store)
    changes.break_off(batch, 9)
    store.write(batch.own)
    assert ask(Changes(store, 9)) == ([], (9, "restored"))


def test_a_page_of_large_documents_is_short(memory: Driver, monkeypatch) -> None:
    monkeypatch.setattr(module, "PAGE_BYTES", 2_500)
    for number in range(6):
        memory.do(Put("a", "x", doc(n=number, text="x" * 1_000)))
    found = ask(memory.machine.view.changes)
    assert (len(found.versions), found.beginning) == (3, None)
    every, _ = whole(memory.machine.view.changes, PLACE, 1_000)
    assert [version.version for version in every] == [6, 5, 4, 3, 2, 1]


def test_a_page_further_back_leaves_out_what_the_one_before_looked_at(memory: Driver) -> None:
    memory.do(CollectionPut("a", doc(subject="who")))
    for number in range(6):
        memory.do(Put("a", "x", doc(n=number, who="ada")))
        for other in range(20):
            memory.do(Put("b", f"y{other}", doc(n=number)))
    changes, looked = memory.machine.view.changes, []

    class Counted(Changes):
        def back(self, sequence, position):
            for row in super().back(sequence, position):
                looked.append(row)
                yield row

    changes.__class__ = Counted
    page = ask(changes, count_max=2)
    assert brief(page) == [("replace", 6), ("replace", 5)]
    before = (page.versions[-1].sequence, page.versions[-1].position)
    looked.clear()
    assert brief(ask(changes, before=before, count_max=2)) == [("replace", 4), ("replace", 3)]
    assert len(looked) < 60, "not those of the first page again"
    memory.do(EraseBegin(b"e" * 16, subject_hash(b"s" * 16, "ada"), b"s" * 16))
    memory.do(EraseStep(b"e" * 16, "a", ("x",)))
    erased = ask(changes, before=before)
    assert (erased.versions, erased.beginning.reason) == ([], "erased"), "but what came since"


IDS = st.sampled_from(["x", "y", "drop", "a"])
WRITES = st.one_of(
    st.builds(Put, st.sampled_from("ab"), IDS, st.just(doc(n=1))),
    st.builds(Delete, st.sampled_from("ab"), IDS),
)
OPS = st.lists(
    st.lists(
        st.one_of(
            WRITES,
            st.builds(CollectionDrop, st.sampled_from("ab")),
            st.builds(
                lambda steps: Transact(tuple(steps)), st.lists(WRITES, min_size=1, max_size=3)
            ),
        ),
        min_size=1,
        max_size=5,
    ),
    max_size=10,
)


def expected(driver: Driver, place: tuple[str, str]) -> list[Version]:
    """Return the history by reading everything."""
    found: list[Version] = []
    for placed in driver.machine.view.changes.read(0, None, bytes_max=FAR):
        for offset, change in enumerate(placed.row.changes):
            position = placed.first + offset
            if change[0] == "drop" and change[1] == place[0]:
                found.clear()
            elif change[1:3] == place:
                inside = [g for g in placed.row.groups if g[0] <= position < g[0] + g[1]]
                told = (change[0], change[3], change[4], inside[0] if inside else None)
                found.append(Version(placed.sequence, position, placed.row.at_ms, *told))
    return found[::-1]


@given(OPS, st.integers(1, 4), st.integers(1, 3))
@settings(max_examples=80)
def test_pages_of_any_size_are_what_reading_everything_finds(
    batches: list[list[Op]], count_max: int, slice_rows: int
) -> None:
    driver = Driver(MemoryStore())
    for ops in batches:
        driver.bundle(*ops)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SLICE_ROWS", slice_rows)
        for place in (("a", "x"), ("b", "drop"), ("a", "a")):
            found, _ = whole(driver.machine.view.changes, place, count_max)
            assert found == expected(driver, place)


@given(OPS, OPS, st.integers(1, 3), st.integers(1, 3))
@settings(max_examples=80)
def test_what_a_node_remembers_of_a_page_changes_nothing_of_the_next(
    batches: list[list[Op]], later: list[list[Op]], count_max: int, slice_rows: int
) -> None:
    driver = Driver(MemoryStore())
    for ops in batches:
        driver.bundle(*ops)
    remembers = driver.machine.view.changes
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SLICE_ROWS", slice_rows)
        ask(remembers, count_max=count_max)
        for ops in later:
            driver.bundle(*ops)
        for sequence in range(1, driver.machine.applied + 2):
            before = (sequence, sequence % 2)
            fresh = Changes(driver.store, driver.machine.applied)
            assert ask(remembers, before=before, count_max=count_max) == ask(
                fresh, before=before, count_max=count_max
            )
