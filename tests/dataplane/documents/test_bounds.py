"""What one batch may change, hold and look at, however small the operations in it are."""

from collections.abc import Sequence
from itertools import pairwise

import pytest

from dataplane.documents import journal as journals
from dataplane.documents import rewinding, tables
from dataplane.documents.audit_commands import EraseBegin, EraseStep
from dataplane.documents.commands import (
    Barrier,
    Check,
    CollectionPut,
    Delete,
    Get,
    IndexPut,
    Maintain,
    OpenSession,
    Patch,
    Put,
    Transact,
    Update,
    encode_op,
)
from dataplane.documents.erasing import STEP_BYTES_MAX
from dataplane.documents.index_definitions import LOOKED_AT_MAX
from dataplane.documents.journal import Journal
from dataplane.documents.replicated import ReplicatedStore
from dataplane.documents.rewinding import rewound
from dataplane.documents.state import EXPIRED_BYTES
from dataplane.documents.tables import BATCH_BYTES_MAX, Batch
from dataplane.documents.transactions import CHANGED_BYTES_MAX
from dataplane.documents.values import DOCUMENT_BYTES_MAX
from dataplane.storage.engine import MemoryStore
from tests.dataplane.documents.test_state import GENESIS, Driver, Sent, StateMachine, doc
from tests.dataplane.documents.test_transactions import outcome

LARGE = DOCUMENT_BYTES_MAX - 1_000
DAY = 24 * 3_600_000


class Weighed(MemoryStore):
    """Knows the longest row of the journal, and how many bytes of rows were read at once."""

    longest = 0
    at_once = 0

    def write(self, changes):
        lengths = [len(row or b"") for key, row in changes.items() if key[:1] == b"j"]
        self.longest = max([self.longest, *lengths])
        super().write(changes)

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        found = super().get_many(keys)
        self.at_once = max(self.at_once, sum(len(row or b"") for row in found))
        return found


@pytest.fixture
def driver() -> Driver:
    return Driver(Weighed())


def fill(driver: Driver, count: int, size: int = LARGE) -> None:
    for number in range(count):
        assert driver.do(Put("c", f"d{number:03}", doc(x="x" * size))).status == 201


def test_what_a_batch_changes_is_bounded_and_what_is_left_out_is_a_tail(driver: Driver) -> None:
    fill(driver, 60)
    ops = [Delete("c", f"d{number:03}") for number in range(60)]
    results = driver.bundle(*ops, Put("c", "small", doc()), Barrier())
    done = [result.status == 204 for result in results[:60]]
    assert 0 < sum(done) * LARGE < BATCH_BYTES_MAX + 2 * DOCUMENT_BYTES_MAX
    assert done == sorted(done, reverse=True), "nothing overtakes what was left out"
    assert {result.code for result in results[sum(done) : 61]} == {"not_ready"}
    assert results[61].status == 200, "what changes no document goes on"
    assert driver.machine.view.stats().documents == 60 - sum(done)
    again = driver.bundle(*ops[sum(done) :], Put("c", "small", doc()))
    assert [result.status for result in again] == [204] * (60 - sum(done)) + [201]


def test_small_changes_of_large_documents_and_what_is_read_of_them_count(driver: Driver) -> None:
    fill(driver, 40)
    ops = [Update("c", f"d{number:03}", doc(**{"$set": {"n": 1}})) for number in range(40)]
    done = sum(result.status == 200 for result in driver.bundle(*ops))
    assert done * 2 * LARGE < BATCH_BYTES_MAX + 3 * DOCUMENT_BYTES_MAX
    reads = [Get("c", f"d{number:03}") for number in range(40)]
    found = sum(result.status == 200 for result in driver.bundle(*reads))
    assert found * LARGE < BATCH_BYTES_MAX + 2 * DOCUMENT_BYTES_MAX
    assert isinstance(driver.store, Weighed)
    assert driver.store.longest < journals.PART_BYTES + DOCUMENT_BYTES_MAX
    assert driver.store.at_once < 2 * BATCH_BYTES_MAX


def test_what_refused_writes_and_steps_look_at_counts(driver: Driver) -> None:
    driver.do(CollectionPut("c", doc(subject="who")))
    fill(driver, 1)
    steps = (Patch("c", "d000", doc(n=1), 9), Delete("c", "d000", 9))
    refused = (*steps, Update("c", "d000", doc(**{"$inc": {"x": 1}})), Transact(steps))
    own = b"e" * 16
    assert driver.do(EraseBegin(own, b"s" * 32, b"t" * 16)).status == 201
    for op in (*refused, EraseStep(own, "c", ("d000",))):
        results = driver.bundle(*[op] * 40)
        looked = sum(result.code != "not_ready" for result in results)
        assert 30 < looked < 36, "as many as of what changes it"
        assert all(result.code == "not_ready" for result in results[looked:])


def test_an_outcome_of_a_full_batch_is_not_kept_under_the_key(driver: Driver) -> None:
    fill(driver, 40)
    key = b"k" * 32
    ops = [Delete("c", f"d{number:03}") for number in range(40)]
    *_, last = driver.bundle(*ops, Put("c", "mine", doc(), idempotency=key))
    assert last.code == "not_ready"
    assert driver.do(Put("c", "mine", doc(), idempotency=key)).status == 201


def test_a_transaction_that_changes_too_much_changes_nothing(driver: Driver) -> None:
    fill(driver, 30)
    steps = [Delete("c", f"d{number:03}") for number in range(30)]
    result = driver.do(Transact(tuple(steps)))
    assert result.status == 409
    (inner,) = outcome(result).results
    assert inner.code == "too_large"
    assert driver.machine.view.stats().documents == 30
    few = steps[: CHANGED_BYTES_MAX // DOCUMENT_BYTES_MAX]
    assert driver.do(Transact(tuple(few))).status == 200


def test_what_transactions_check_counts_as_what_they_change(driver: Driver) -> None:
    fill(driver, 25)
    checks = tuple(Check("c", f"d{n:03}", exists=True) for n in range(25))
    refused = driver.do(Transact(checks))
    assert refused.code == "conflict"
    assert outcome(refused).results[0].code == "too_large"
    few = Transact(checks[:20])
    results = driver.bundle(few, few, few)
    assert [result.status for result in results] == [200, 200, 503], "the batch is full"
    assert driver.bundle(few)[0].status == 200


def test_a_step_of_an_erasure_that_looks_at_too_much_removes_nothing(driver: Driver) -> None:
    count = STEP_BYTES_MAX // LARGE + 1
    driver.do(CollectionPut("c", doc(subject="who")))
    fill(driver, count)
    own = b"e" * 16
    assert driver.do(EraseBegin(own, b"s" * 32, b"t" * 16)).status == 201
    ids = tuple(f"d{number:03}" for number in range(count))
    assert driver.do(EraseStep(own, "c", ids)).code == "too_large"
    assert driver.do(EraseStep(own, "c", ids[1:])).status == 200


def test_outcomes_are_forgotten_a_bounded_amount_at_a_time(driver: Driver) -> None:
    fill(driver, 4)
    for number in range(12):
        change = doc(**{"$set": {"n": number}})
        driver.do(Update("c", f"d{number % 4:03}", change, idempotency=bytes([number]) * 32))
    kept = [len(list(driver.store.iterate(b"I")))]
    driver.now += DAY
    while kept[-1] and len(kept) < 9:
        driver.order(Sent((encode_op(OpenSession(b"n%d" % len(kept))),), 0))
        kept.append(len(list(driver.store.iterate(b"I"))))
    assert kept == [12, 8, 4, 0]
    assert EXPIRED_BYTES <= 4 * DOCUMENT_BYTES_MAX


def test_sessions_are_forgotten_a_few_at_a_time(driver: Driver) -> None:
    for number in range(9):
        driver.order(Sent((encode_op(OpenSession(b"other %d" % number)),), 0))
    driver.now += DAY
    counts = []
    for number in range(4):
        driver.order(Sent((encode_op(OpenSession(b"new %d" % number)),), 0))
        counts.append(driver.machine.view.session_count)
    assert counts == [7, 4, 3, 4]


def test_the_journal_splits_what_a_batch_replaced_and_leads_back_by_all_parts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(journals, "PART_BYTES", 4_096)
    monkeypatch.setattr(rewinding, "HELD_BYTES_MAX", 10_000)
    store = MemoryStore()
    state = ReplicatedStore(store, lambda: None)
    roots, then = {}, {}
    for sequence in range(1, 5):
        batch = Batch(store)
        for number in range(40):
            value = b"%d" % sequence * (1_000 if number % 3 else 10)
            batch.changes[b"D%02d" % ((number + sequence) % 50)] = value
        state.commit(sequence, batch)
        roots[sequence], then[sequence] = state.root(), dict(store.iterate(b"D"))
    journal = Journal(store)
    assert len(list(store.iterate(b"j"))) > len(journal) == 4
    for sequence in (1, 2, 3):
        snapshot, root = rewound(store, journal, sequence)
        assert root == roots[sequence]
        assert {key: snapshot.get(key) for key in then[sequence]} == then[sequence]
        snapshot.release()
    gone: tables.Changes = {}
    journal.prune(2, gone)
    store.write(gone)
    assert not journal.covers(1)
    assert journal.covers(3)
    assert {key[1:9] for key, _ in store.iterate(b"j")} == {
        number.to_bytes(8, "big") for number in (3, 4)
    }


def test_replicas_that_start_anew_count_alike() -> None:
    first, second = Driver(MemoryStore()), Driver(MemoryStore())
    for driver in (first, second):
        fill(driver, 36)
    second.machine = StateMachine(second.store, GENESIS)
    ops = [Update("c", f"d{number:03}", doc(**{"$set": {"n": 1}})) for number in range(36)]
    assert first.bundle(*ops) == second.bundle(*ops)
    assert first.machine.root() == second.machine.root()


def indexed(name: str, field: str, **options: object) -> IndexPut:
    return IndexPut("c", name, ((field, 1),), **options)


def test_what_a_filter_of_an_index_looks_at_in_one_document_is_bounded(driver: Driver) -> None:
    partial = doc(tags={"$in": ["wanted"]}, deep={"$eq": [[1]]})
    driver.bundle(CollectionPut("c", doc()), indexed("i", "n", partial=partial))
    driver.do(Barrier())
    fits = driver.do(Put("c", "fits", doc(tags=["x"] * 9_000 + ["wanted"], deep=[[1]], n=1)))
    assert fits.status == 201
    assert driver.machine.view.indexes("c")[0].entries == 1
    wide = driver.do(Put("c", "wide", doc(tags=["x"] * LOOKED_AT_MAX, deep=[[1]])))
    deep = driver.do(Put("c", "deep", doc(tags="wanted", deep=[[1] * LOOKED_AT_MAX])))
    through = driver.do(Put("c", "way", doc(tags="wanted", deep={"x": {}}, n=[1] * 999)))
    assert [wide.code, deep.code, through.status] == ["invalid", "invalid", 201]
    assert "index i: over 20000 values to look at" in wide.errors[0][1]
    driver.bundle(CollectionPut("c", doc()), indexed("far", "a.b"))
    driver.do(Barrier())
    assert driver.do(Put("c", "far", doc(a=[1] * (LOOKED_AT_MAX + 1)))).code == "invalid"
    assert driver.do(Put("c", "near", doc(a=[1] * 900))).status == 201
    many = [{"b": [1] * 50} for _ in range(LOOKED_AT_MAX // 50 + 1)]
    driver.bundle(CollectionPut("c", doc()), indexed("short", "z.b.c"))
    driver.do(Barrier())
    assert driver.do(Put("c", "short", doc(z=many))).code == "invalid", "short arrays, but many"


def test_a_document_has_a_bounded_number_of_entries_over_all_indexes(driver: Driver) -> None:
    driver.do(CollectionPut("c", doc()))
    driver.bundle(*[indexed(f"i{number}", f"f{number}") for number in range(6)])
    for _ in range(8):
        driver.do(Barrier())
    fields = {f"f{number}": list(range(990)) for number in range(4)}
    assert driver.do(Put("c", "most", doc(**fields))).status == 201
    refused = driver.do(Put("c", "more", doc(**fields, f4=list(range(100)))))
    assert (refused.code, refused.errors[0][1][:9]) == ("invalid", "over 4000")


def test_a_document_that_a_later_index_took_over_the_bound_can_still_be_written(
    driver: Driver,
) -> None:
    driver.do(CollectionPut("c", doc()))
    driver.bundle(*[indexed(f"i{number}", f"f{number}") for number in range(4)])
    for _ in range(8):
        driver.do(Barrier())
    fields = {f"f{number}": list(range(990)) for number in range(5)}
    assert driver.do(Put("c", "most", doc(**fields))).status == 201
    driver.do(indexed("later", "f4"))
    for _ in range(8):
        driver.do(Barrier())
    assert driver.machine.view.indexes("c")[-1].state == "ready"
    set_to = lambda **fields: driver.do(Update("c", "most", doc(**{"$set": fields})))  # noqa: E731
    assert set_to(other=1).status == 200
    assert set_to(f4=list(range(995))).code == "invalid"
    assert set_to(f4=list(range(9))).status == 200


def test_index_work_counts_among_what_a_batch_may_do(driver: Driver) -> None:
    driver.do(CollectionPut("c", doc()))
    driver.bundle(*[indexed(f"i{number}", f"f{number}") for number in range(4)])
    for _ in range(8):
        driver.do(Barrier())
    fields = {f"f{number}": list(range(number, number + 900)) for number in range(4)}
    puts = [Put("c", f"d{number:03}", doc(**fields)) for number in range(60)]
    done = [result.status == 201 for result in driver.bundle(*puts)]
    assert done == sorted(done, reverse=True)
    assert 10 < sum(done) < 40
    clashes = [Put("c", f"e{number:03}", doc(f0=[1] * (LOOKED_AT_MAX + 2))) for number in range(99)]
    codes = [result.code for result in driver.bundle(*clashes)]
    assert codes[0] == "invalid"
    assert codes[-1] == "not_ready", "what is refused was looked at all the same"


def test_building_an_index_of_costly_documents_takes_small_steps(driver: Driver) -> None:
    for number in range(40):
        driver.do(Put("c", f"d{number:03}", doc(t=["x"] * 19_000, n=number)))
    driver.do(indexed("i", "n", partial=doc(t={"$eq": "y"})))
    built = [0]
    while driver.machine.view.indexes("c")[0].state == "building":
        driver.do(Maintain())
        built.append(driver.machine.view.indexes("c")[0].built)
    steps = [after - before for before, after in pairwise(built)]
    assert max(steps) < 30
    assert built[-1] == 40
