"""Indexes as the state machine keeps them: always what the documents say, built in steps."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dataplane.documents import collections, index_definitions, maintenance, ordering
from dataplane.documents.commands import (
    CollectionDrop,
    CollectionPut,
    Create,
    Delete,
    IndexDrop,
    IndexPut,
    Maintain,
    Op,
    OpenSession,
    Put,
    QuotaPut,
    Transact,
    Update,
    decode_result,
    encode_op,
)
from dataplane.documents.determinism import START_MS as LOG_START_MS
from dataplane.documents.determinism import LogMaker, Sent, Stream
from dataplane.documents.errors import Refusal
from dataplane.documents.index_definitions import Definition
from dataplane.documents.index_entries import Shape
from dataplane.documents.indexes import INDEXES_MAX
from dataplane.documents.journal import Journal
from dataplane.documents.maintenance import STEP, TICK
from dataplane.documents.ordering import sort_key
from dataplane.documents.rewinding import rewound
from dataplane.documents.settings import TTL_OPTION
from dataplane.documents.state import StateMachine
from dataplane.documents.stubs import COLD_RESULT
from dataplane.documents.types import Genesis
from dataplane.documents.values import pack_document
from dataplane.storage.engine import MemoryStore
from tests.dataplane.documents.index_checks import (
    Machine,
    check_clean,
    check_rows,
    check_segments,
    cold_places,
    settle,
    warming,
    warmings,
)
from tests.dataplane.documents.test_index_keys import VALUES


def put(document_id: str, collection: str = "c", **document: object) -> Put:
    return Put(collection, document_id, pack_document(document))


def index(*paths: str, name: str = "i", **options: object) -> IndexPut:
    fields = tuple([(path.lstrip("-"), -1 if path.startswith("-") else 1) for path in paths])
    return IndexPut("c", name, fields, **options)


@pytest.fixture
def machine() -> Machine:
    return Machine()


def fill(machine: Machine, count: int) -> None:
    machine.apply(*[put(f"d{n:04}", n=n % 7, tags=[n % 3, "x"]) for n in range(count)])


@pytest.mark.parametrize("seed", range(20, 32))
def test_entries_are_what_the_documents_say_after_every_batch_and_every_restart(seed):
    store = MemoryStore()
    state = StateMachine(store, Genesis())
    maker, times = LogMaker(seed, 0), Stream(b"time%d" % seed)
    now_ms = LOG_START_MS
    made = sealed = warmed = cold = 0
    root: bytes | None = None
    for number in range(1, 220):
        now_ms += times.below(20_000)
        ops = maker.operations() if number > 1 else (encode_op(OpenSession(b"nonce")),)
        chosen = cold_places(state) if number > 1 and times.below(3) == 0 else []
        back = [warming(store, state, *times.pick(chosen))] if chosen else []
        warmed += len(back)
        ops += tuple(map(encode_op, back))
        sent = Sent(number if number > 1 else 0, max(0, number - 1), ops)
        for result in map(decode_result, state.apply(number, now_ms, [sent]).requests[0].results):
            cold += result == COLD_RESULT
            if result.conflict is not None:
                maker.conflicts.append(result.conflict)
        check_rows(store)
        check_segments(store)
        sealed += state.tiers.segment(number) is not None
        if times.below(4) == 0:
            # What the journal says was there before leads back to what was.
            snapshot, before = rewound(store, Journal(store), number - 1)
            snapshot.release()
            assert root in {None, before}
            root = state.root()
            state = StateMachine(store, Genesis())
            assert state.root() == root
        else:
            root = state.root() if times.below(2) else None
        made += sum(len(state.view.indexes(name)) for name in ("one", "two"))
    assert made > 100
    assert sealed > 0
    assert warmed + cold > 0
    while state.maintenance.is_due(now_ms):
        number = state.applied + 1
        ops = Maintain(), *warmings(store, state)
        sent = Sent(number, number - 1, tuple(map(encode_op, ops)))
        state.apply(number, now_ms, [sent])
    check_clean(store)
    check_segments(store)


def test_an_index_is_built_in_bounded_steps_while_documents_change_and_survives_restarts(machine):
    fill(machine, 200)
    machine.apply(index("n", "-tags"))
    steps = 0
    while machine.index().state == "building":
        assert machine.index().built == min(200, steps * STEP.documents)
        check_rows(machine.store)
        machine.reopen()
        machine.apply(put("d0000", n="early"), put("d0199", n="late"), put("e", n=steps))
        steps += 1
    assert 200 // STEP.documents <= steps <= 200 // STEP.documents + 2
    assert machine.index().state == "ready"
    check_clean(machine.store)
    assert not machine.state.maintenance.is_due(machine.now_ms)


def test_a_tick_does_a_larger_step_than_a_batch_of_requests(machine):
    fill(machine, TICK.documents)
    machine.apply(index("n"))
    assert machine.state.maintenance.is_due(machine.now_ms)
    machine.apply(Maintain())
    machine.apply(Maintain())
    assert machine.index().state == "ready"


def test_indexes_that_are_made_one_after_the_other_go_through_the_documents_together(machine):
    fill(machine, 20 * STEP.documents)
    machine.apply(index("n", name="a"))
    later = index("-n", name="b"), index("tags", name="c")
    machine.apply(*later, *[Delete("c", f"d{n:04}") for n in range(5)])
    steps = 0
    while machine.state.maintenance.is_due(machine.now_ms):
        check_rows(machine.store)
        machine.apply()
        steps += 1
    assert steps <= 20 + 1, "they wait for each other, and go on together"
    assert {machine.index(name=name).state for name in "abc"} == {"ready"}
    assert {machine.index(name=name).built for name in "bc"} == {20 * STEP.documents - 5}
    check_clean(machine.store)


@pytest.mark.parametrize("is_transaction", [False, True])
def test_the_journal_knows_what_was_there_before_an_entry_went_and_came_again(
    machine, is_transaction
):
    machine.apply(put("a", n=1))
    machine.apply(index("n"))
    settle(machine)
    root, sequence = machine.state.root(), machine.state.applied
    gone, again = Delete("c", "a"), put("a", n=1)
    failed = Transact((gone, Delete("c", "none")))
    if is_transaction:
        done = machine.apply(failed, Transact((gone, again)))
        assert [result.status for result in done] == [409, 200]
    else:
        machine.apply(gone, again)
    snapshot, before = rewound(machine.store, Journal(machine.store), sequence)
    snapshot.release()
    assert before == root


def test_an_index_that_fails_does_not_stop_those_that_are_built_with_it(machine):
    machine.apply(*[put(f"d{n:03}", n=n) for n in range(100)], put("d050x", n=50))
    machine.apply(*[index("n", name=name, unique=name == "b") for name in "abc"])
    while machine.state.maintenance.is_due(machine.now_ms):
        machine.apply()
        check_rows(machine.store)
    assert [machine.index(name=name).state for name in "abc"] == ["ready", "failed", "ready"]
    check_clean(machine.store)


@example(document={"a": "\0" * 130}, fields=(("a", 1),), is_unique=True, is_sparse=False)
@example(document={"a": "x" * 240}, fields=(("a", -1),), is_unique=False, is_sparse=False)
@given(
    document=st.dictionaries(st.sampled_from(["a", "b"]), VALUES, max_size=2),
    fields=st.sampled_from([(("a", 1),), (("b", -1), ("a.b", 1)), (("a.aa", -1),)]),
    is_unique=st.booleans(),
    is_sparse=st.booleans(),
)
def test_short_values_make_the_rows_that_all_values_make(document, fields, is_unique, is_sparse):
    definition = Definition(fields, is_unique, is_sparse)
    shape, longer = Shape(7, "i", definition), Shape(7, "i", definition)
    longer.is_simple = False
    try:
        expected = longer.entries("id", document)
    except Refusal:
        expected = None
    if expected is not None:
        found = shape.entries("id", document)
        assert found == expected
        assert found.size == sum(len(key) + len(row) for key, row in found.rows.items())


def test_an_index_of_an_empty_collection_is_ready_with_the_next_batch(machine):
    machine.apply(CollectionPut("c", pack_document({})), index("n"))
    machine.apply(put("a", n=1))
    assert machine.index().state == "ready"
    check_clean(machine.store)


def test_a_unique_index_refuses_a_second_value_and_names_itself(machine):
    machine.apply(put("a", email="x@y"), index("email", name="mail", unique=True))
    settle(machine)
    created, replaced, patched, allowed = machine.apply(
        Create("c", "b", pack_document({"email": "x@y"})),
        put("c", email="x@y"),
        put("a", email="x@y", more=1),
        put("d", email="z"),
    )
    for refused in (created, replaced):
        assert (refused.status, refused.code) == (409, "conflict")
        assert refused.detail == "index mail is unique, and document a has the same value"
        assert refused.errors == (("/email", refused.detail),)
    assert (patched.status, allowed.status) == (200, 201)
    update = Update("c", "d", pack_document({"$set": {"email": "x@y"}}))
    assert machine.apply(update)[0].status == 409
    machine.apply(Delete("c", "a"))
    assert machine.apply(update)[0].status == 200
    check_clean(machine.store)


def test_values_of_one_request_meet_each_other_and_long_ones_count_whole(machine):
    machine.apply(put("z"), index("v", unique=True, sparse=True))
    settle(machine)
    long = "x" * 5000
    statuses = [
        result.status
        for result in machine.apply(
            put("a", v=long + "a"),
            put("b", v=long + "b"),
            put("c", v=long + "a"),
            put("d", v=1),
            put("e", v=1.0),
            put("f", v=True),
            put("g"),
            put("h", v=["p", "q"]),
            put("i", v="q"),
            put("j", v="x" * 20_000),
        )
    ]
    assert statuses == [201, 201, 409, 201, 409, 201, 201, 201, 409, 422]
    check_clean(machine.store)


def test_a_unique_build_that_meets_duplicates_fails_with_their_ids(machine):
    machine.apply(*[put(f"d{n:03}", n=n) for n in range(100)], put("d077x", n=77))
    machine.apply(index("n", unique=True))
    settle(machine)
    failed = machine.index()
    assert failed.state == "failed"
    assert failed.failure == (
        "index i is unique, and document d077 has the same value",
        "d077x",
        "d077",
    )
    assert (failed.entries, failed.bytes) == (0, 0)
    check_clean(machine.store)
    assert machine.apply(put("q", n=1))[0].status == 201


def test_a_write_that_clashes_with_a_build_is_done_and_the_build_fails(machine):
    fill(machine, 0)
    machine.apply(*[put(f"d{n:03}", n=n) for n in range(100)])
    machine.apply(index("n", unique=True))
    machine.apply()
    assert machine.apply(put("d000x", n=0))[0].status == 201
    settle(machine)
    assert machine.index().failure[1:] == ("d000x", "d000")
    check_clean(machine.store)


def test_a_transaction_that_fails_leaves_indexes_as_they_were(machine):
    machine.apply(put("a", n=1), put("z", n=9), index("n", unique=True))
    settle(machine)
    before = dict(machine.store.iterate(b"O"))
    step = Put("c", "b", pack_document({"n": 2}))
    (result,) = machine.apply(Transact((step, Put("c", "d", pack_document({"n": 1})))))
    assert result.status == 409
    assert dict(machine.store.iterate(b"O")) == before
    swap = (
        Put("c", "a", pack_document({"n": 3})),
        Put("c", "z", pack_document({"n": 1})),
        Put("c", "a", pack_document({"n": 9})),
    )
    assert machine.apply(Transact(swap))[0].status == 200
    check_clean(machine.store)


def test_two_arrays_in_one_document_are_refused_and_too_many_values_are(machine):
    machine.apply(put("a"), index("x", "y"), index("x", name="single"))
    settle(machine)
    refused, many, good = machine.apply(
        put("b", x=[1], y=[2]), put("c", x=list(range(1001))), put("d", x=[1, 2], y=3)
    )
    assert (refused.status, refused.errors) == (
        422,
        (("/y", "index i: two of the fields hold arrays"),),
    )
    assert many.status == 422
    assert good.status == 201
    assert (machine.index().entries, machine.index().multikey) == (1 + 3, 1)
    check_clean(machine.store)


def test_partial_and_sparse_indexes_hold_only_what_belongs(machine):
    partial = pack_document({"state": "open", "n": {"$gte": 3}})
    machine.apply(put("z"), index("n", partial=partial), index("m", name="sparse", sparse=True))
    settle(machine)
    machine.apply(put("a", state="open", n=3, m=None), put("b", state="open", n=2), put("c", n=9))
    assert (machine.index().entries, machine.index(name="sparse").entries) == (1, 1)
    machine.apply(put("a", state="closed", n=3))
    assert (machine.index().entries, machine.index(name="sparse").entries) == (0, 0)
    check_clean(machine.store)


def test_what_a_partial_index_compares_with_is_looked_at_once(machine, monkeypatch):
    count = 0

    def counted(value):
        nonlocal count
        count += 1
        return sort_key(value)

    for module in (ordering, index_definitions):
        monkeypatch.setattr(module, "sort_key", counted)
    wanted = [f"s{n}" for n in range(100)]
    partial = pack_document({"a": {"$in": wanted}, "n": {"$gt": 1}})
    machine.apply(CollectionPut("c", pack_document({})), index("n", partial=partial))
    count = 0
    machine.apply(put("out", a=["none"] * 1_000, n=3), put("in", a=["none"] * 1_000 + ["s9"], n=3))
    settle(machine)
    assert count < 5_000
    assert machine.index().entries == 1


@pytest.mark.parametrize(
    ("operation", "status"),
    [
        (IndexPut("none", "i", (("a", 1),)), 404),
        (IndexPut("c", "_own", (("a", 1),)), 422),
        (IndexPut("c", "i", ()), 422),
        (IndexPut("c", "i", (("a", 1), ("a", -1))), 422),
        (IndexPut("c", "i", (("a", 2),)), 422),
        (IndexPut("c", "i", (("a..b", 1),)), 422),
        (IndexPut("c", "i", (("_other", 1),)), 422),
        (IndexPut("c", "i", tuple([(f"f{n}", 1) for n in range(9)])), 422),
        (IndexPut("c", "i", (("a", 1), ("b", 1)), expire_after_s=5), 422),
        (IndexPut("c", "i", (("a", 1),), expire_after_s=-1), 422),
        (IndexPut("c", "i", (("a", 1),), partial=pack_document({"a": {"$ne": 1}})), 422),
        (IndexPut("c", "i", (("a", 1),), partial=pack_document({"a": {"$type": []}})), 422),
        (IndexPut("c", "i", (("a", 1),), partial=pack_document({})), 422),
        (IndexPut("c", "i", (("a", 1),), partial=b"\xc1"), 400),
        (IndexPut("c", "known", (("b", 1),)), 409),
        (IndexPut("c", "known", (("a", 1),)), 200),
        (IndexDrop("c", "none"), 404),
        (IndexDrop("c", "_ttl"), 422),
        (CollectionPut("c", pack_document({TTL_OPTION: "soon"})), 422),
    ],
)
def test_what_makes_no_index_is_refused(machine, operation: Op, status: int):
    machine.apply(CollectionPut("c", pack_document({})), index("a", name="known"))
    before = len(machine.state.view.indexes("c"))
    assert machine.apply(operation)[0].status == status
    assert len(machine.state.view.indexes("c")) == before


def test_a_collection_has_a_bounded_number_of_indexes_and_changes_nothing_beyond(machine):
    machine.apply(CollectionPut("c", pack_document({})))
    made = machine.apply(*[index("a", name=f"i{n}") for n in range(INDEXES_MAX + 1)])
    assert [result.status for result in made] == [201] * INDEXES_MAX + [422]
    options = CollectionPut("c", pack_document({TTL_OPTION: 5}))
    assert machine.apply(options)[0].status == 422
    assert machine.state.view.collection("c").options == pack_document({})


def test_entries_count_as_storage_and_a_full_plan_refuses_the_write_and_not_the_cluster(machine):
    machine.apply(put("a", n="x" * 100), put("z"), index("n"))
    settle(machine)
    used = machine.state.view.stats().bytes
    assert used == machine.state.view.collection("c").bytes + machine.index().bytes
    room = len("b") + len(pack_document({"n": "y" * 100})) + 50
    machine.apply(QuotaPut(None, used + room))
    assert machine.apply(put("b", n="y" * 100))[0].status == 507
    assert machine.apply(put("b", other="y" * 50))[0].status == 201
    machine.apply(IndexDrop("c", "i"))
    assert machine.state.view.stats().bytes == machine.state.view.collection("c").bytes


def test_rows_of_dropped_indexes_and_collections_go_in_bounded_steps(machine, monkeypatch):
    monkeypatch.setattr("dataplane.documents.state.STEP", maintenance.Budget(32, 10_000, 20))
    fill(machine, 60)
    machine.apply(index("n"), index("tags", name="t"))
    settle(machine)
    rows = len(list(machine.store.iterate(b"O")))
    machine.apply(IndexDrop("c", "i"))
    machine.apply()
    assert len(list(machine.store.iterate(b"O"))) == rows - 20
    machine.reopen()
    machine.apply(CollectionDrop("c"), put("new", n=1), index("n"))
    settle(machine)
    check_clean(machine.store)
    assert (machine.ids(), machine.index().entries) == (["new"], 1)
    assert machine.state.view.stats().documents == 1


def test_a_replica_that_began_anew_removes_the_same_rows_as_one_that_went_on(machine, monkeypatch):
    monkeypatch.setattr("dataplane.documents.state.STEP", maintenance.Budget(32, 10_000, 20))
    monkeypatch.setattr(collections, "DROPS_PER_BATCH", 10)
    anew = Machine()
    made = [index("n"), index("n", name="j")]
    dropped: list[tuple[Op, ...]] = [(IndexDrop("c", "j"), IndexDrop("c", "i"))]
    # Those made last go first.
    dropped += [(CollectionDrop("d"), CollectionDrop("c"))]
    puts = [put(f"p{n}", collection, n=n) for n in range(25) for collection in "cd"]
    rest: list[tuple[Op, ...]] = [() for _ in range(20)]
    for ops in [puts, made, *rest, *dropped, *rest]:
        for one in (machine, anew):
            one.apply(*ops)
        assert anew.state.root() == machine.state.root()
        anew.reopen()
    check_clean(machine.store)


# --- Documents that expire --------------------------------------------------------------------


def test_a_collection_with_ttl_forgets_documents_so_long_after_their_last_write(machine):
    machine.apply(CollectionPut("c", pack_document({TTL_OPTION: 60})))
    machine.apply(put("a"), put("b"))
    machine.now_ms += 30_000
    machine.apply(put("a", again=1))
    machine.now_ms += 30_000
    machine.state.view.changes.read(0, None, bytes_max=10**6)
    machine.apply()
    assert machine.ids() == ["a"]
    machine.now_ms += 29_999
    machine.apply()
    assert machine.ids() == ["a"]
    machine.now_ms += 1
    assert machine.state.maintenance.is_due(machine.now_ms)
    machine.apply()
    assert machine.ids() == []
    assert (machine.state.view.stats().documents, machine.state.view.stats().bytes) == (0, 0)
    gone = machine.state.view.changes.read(0, None, bytes_max=10**6)[-1].row.changes
    assert [change[0] for change in gone] == ["delete"]
    check_clean(machine.store)


def test_an_index_of_dates_removes_what_is_past_in_bounded_steps_after_any_restart(machine):
    machine.apply(index("at", expire_after_s=10), CollectionPut("c", pack_document({})))
    machine.apply(index("at", expire_after_s=10))
    now_s = machine.now_ms // 1000
    machine.apply(*[put(f"d{n:03}", at=now_s) for n in range(100)])
    machine.apply(put("never", at="soon"), put("later", at=[now_s + 500, now_s + 100]))
    machine.now_ms += 10_000
    left = 100
    while machine.state.maintenance.is_due(machine.now_ms):
        machine.apply()
        left = max(0, left - STEP.documents)
        assert len(machine.ids()) == left + 2
        machine.reopen()
        check_rows(machine.store)
    assert machine.ids() == ["later", "never"]
    machine.now_ms += 100_000
    machine.apply()
    assert machine.ids() == ["never"]
    check_clean(machine.store)


def test_large_documents_expire_in_steps_of_bounded_bytes(machine):
    machine.apply(CollectionPut("c", pack_document({TTL_OPTION: 1})))
    for n in range(10):
        machine.apply(put(f"d{n}", text="x" * 800_000))
    machine.now_ms += 10_000
    machine.apply()
    assert len(machine.ids()) == 4
    machine.apply()
    assert machine.ids() == []


def test_documents_already_there_expire_as_the_build_reaches_them(machine):
    machine.apply(*[put(f"d{n:03}") for n in range(100)])
    machine.now_ms += 3_600_000
    machine.apply(CollectionPut("c", pack_document({TTL_OPTION: 60})))
    settle(machine)
    assert machine.ids() == []
    check_clean(machine.store)


def test_a_changed_ttl_counts_for_what_is_there_and_without_it_nothing_expires(machine):
    machine.apply(CollectionPut("c", pack_document({TTL_OPTION: 60})))
    machine.apply(put("a"))
    machine.apply(CollectionPut("c", pack_document({TTL_OPTION: 600})))
    settle(machine)
    machine.now_ms += 60_000
    machine.apply()
    assert machine.ids() == ["a"]
    machine.apply(CollectionPut("c", pack_document({})))
    machine.now_ms += 6_000_000
    machine.apply()
    assert machine.ids() == ["a"]
    assert machine.index(name="_ttl") is None
    check_clean(machine.store)


def test_a_transaction_that_fails_keeps_what_is_due(machine):
    machine.apply(CollectionPut("c", pack_document({TTL_OPTION: 60})))
    machine.apply(put("a"))
    failing = (Delete("c", "a"), Delete("c", "none"))
    assert machine.apply(Transact(failing))[0].status == 409
    machine.now_ms += 60_000
    machine.apply()
    assert machine.ids() == []
