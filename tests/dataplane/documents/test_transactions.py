"""Transactions: all of it or nothing, whatever fails, and as a plain model would have it."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataplane.documents.commands import (
    Check,
    CollectionPut,
    Create,
    Delete,
    Get,
    OpResult,
    Patch,
    Put,
    QuotaPut,
    Step,
    Transact,
    Update,
    encode_op,
)
from dataplane.documents.state import StateMachine
from dataplane.documents.transactions import (
    READ_BYTES_MAX,
    STEPS_MAX,
    WRITTEN_BYTES_MAX,
    Outcome,
    decode_outcome,
)
from dataplane.documents.values import merge_patch, pack_document, unpack_document
from dataplane.storage.engine import MemoryStore
from tests.dataplane.documents.test_state import GENESIS, Driver, Sent, doc


@pytest.fixture
def memory() -> Driver:
    return Driver(MemoryStore())


def outcome(result: OpResult) -> Outcome:
    assert result.document is not None
    return decode_outcome(result.document)


def transact(driver: Driver, *steps: Step, key: bytes | None = None) -> OpResult:
    return driver.do(Transact(steps, key))


def rows(driver: Driver) -> dict[bytes, bytes]:
    """Return what a transaction may change: documents, collections and counts."""
    found = {key: row for key, row in driver.store.iterate(b"") if key[:1] in b"CD"}
    stats = driver.machine.view.stats()
    return {**found, b"counts": b"%d %d" % (stats.documents, stats.bytes)}


def test_steps_see_what_those_before_them_did(memory: Driver) -> None:
    result = transact(
        memory,
        Create("a", "x", doc(n=1)),
        Update("a", "x", pack_document({"$inc": {"n": 1}})),
        Get("a", "x"),
        Delete("a", "x"),
        Check("a", "x", exists=False),
        Create("b", "y", doc()),
    )
    assert result.status == 200
    found = outcome(result).results
    assert [item.status for item in found] == [201, 200, 200, 204, 200, 201]
    assert [item.version for item in found] == [1, 2, 2, None, None, 1]
    assert unpack_document(found[2].document or b"") == {"n": 2}
    assert found[1].document is None, "what an update left behind is not sent back"
    assert memory.machine.view.row("a", "x") is None
    assert memory.machine.view.row("b", "y") is not None


@pytest.mark.parametrize(
    ("step", "code"),
    [
        (Create("a", "x", doc()), "conflict"),
        (Put("a", "x", doc(), 7), "precondition_failed"),
        (Patch("a", "none", doc()), "not_found"),
        (Update("a", "x", pack_document({"$inc": {"text": 1}})), "invalid"),
        (Delete("a", "none"), "not_found"),
        (Get("a", "none"), "not_found"),
        (Get("none", "x"), "not_found"),
        (Put("_conflicts", "x", doc()), "invalid"),
        (Put("NO", "x", doc()), "invalid"),
        (Put("a", "y", b"\xc1"), "malformed"),
        (Check("a", "x", exists=False), "precondition_failed"),
        (Check("a", "none", exists=True), "not_found"),
        (Check("a", "x", version=2), "precondition_failed"),
        (Check("a", "none", version=1), "precondition_failed"),
        (Check("a", "x", filter=doc(), seen=1, holds=False), "precondition_failed"),
        (Check("a", "x", filter=doc(), seen=2), "conflict"),
        (Check("a", "none", filter=doc(), seen=1), "conflict"),
    ],
)
def test_one_step_that_fails_undoes_all(memory: Driver, step: Step, code: str) -> None:
    memory.do(Put("a", "x", doc(text="t")))
    before, told = rows(memory), len(list(memory.store.iterate(b"c")))
    result = transact(
        memory, Put("a", "x", doc(n=2)), Put("new", "z", doc()), Delete("a", "x"), Get("new", "z")
    )
    assert result.status == 200
    memory = Driver(MemoryStore())
    memory.do(Put("a", "x", doc(text="t")))
    assert rows(memory) == before
    steps = Put("new", "z", doc()), Put("a", "w", doc()), step, Put("a", "v", doc())
    result = transact(memory, *steps)
    assert (result.status, result.code) == (409, "conflict")
    assert outcome(result).failed == 2
    assert outcome(result).results[0].code == code
    assert rows(memory) == before
    assert memory.machine.view.collection("new") is None
    assert len(list(memory.store.iterate(b"c"))) == told
    again = StateMachine(memory.store, GENESIS)
    assert again.view.collections() == memory.machine.view.collections()
    memory.do(Put("new", "z", doc()))
    memory.do(Put("other", "z", doc()))
    fresh = StateMachine(memory.store, GENESIS)
    assert fresh.view.collections() == memory.machine.view.collections()


def test_conditions_that_hold_let_a_transaction_pass(memory: Driver) -> None:
    memory.do(Put("a", "x", doc(n=1)))
    result = transact(
        memory,
        Check("a", "x", exists=True, version=1),
        Check("a", "none", exists=False),
        Check("a", "x", filter=doc(n=1), seen=1),
        Put("a", "x", doc(n=2), 1),
    )
    assert [item.version for item in outcome(result).results] == [1, None, 1, 2]


def test_policies_of_conflict_apply(memory: Driver) -> None:
    memory.do(CollectionPut("last", pack_document({"conflict_policy": "lww"})))
    memory.do(CollectionPut("merged", pack_document({"conflict_policy": "merge_patch"})))
    memory.bundle(Put("last", "x", doc(n=1)), Put("last", "x", doc(n=2)))
    memory.bundle(Put("merged", "x", doc(n=1)), Put("merged", "x", doc(n=1, m=2)))
    result = transact(
        memory,
        Put("last", "x", doc(n=3), 1),
        Put("merged", "x", doc(n=4), 1, base=doc(n=1)),
    )
    lww, merged = outcome(result).results
    assert (lww.policy, lww.met, lww.version) == ("lww", 2, 3)
    assert (merged.policy, merged.met) == ("merge_patch", 2)
    assert unpack_document(merged.document or b"") == {"m": 2, "n": 4}
    result = transact(memory, Put("merged", "x", doc(n=5), 1, base=doc(n=1)))
    assert outcome(result).results[0].fields is not None


def test_a_full_plan_undoes_all_and_is_no_verdict(memory: Driver) -> None:
    memory.do(Put("a", "x", doc(text="x" * 100)))
    memory.do(QuotaPut(None, 300))
    before = rows(memory)
    steps = Put("a", "y", doc(text="x" * 100)), Put("b", "z", doc(text="x" * 100))
    for _ in range(2):
        result = transact(memory, *steps, key=b"k" * 32)
        assert (result.status, result.code) == (507, "storage_quota_exceeded")
        assert outcome(result).failed == 1
        assert rows(memory) == before
    assert transact(memory, Delete("a", "x"), *steps, key=b"l" * 32).status == 200
    memory.do(QuotaPut(None, None))
    memory.do(Delete("a", "y"))
    assert transact(memory, *steps, key=b"k" * 32).status == 200, "the same may succeed later"


def test_a_retry_gets_the_first_outcome(memory: Driver) -> None:
    key = b"k" * 32
    steps = (
        Create("a", "made-up-1", doc(), generated=True),
        Check("a", "x", filter=doc(n=1), seen=0, holds=False),
    )
    first = transact(memory, *steps, key=key)
    assert first.status == 409
    memory.do(Put("a", "x", doc(n=1)))
    again = (
        Create("a", "made-up-2", doc(), generated=True),
        Check("a", "x", filter=doc(n=1), seen=1, holds=True),
    )
    assert transact(memory, *again, key=key) == first
    other = transact(memory, again[0], key=key)
    assert other.code == "idempotency_key_reused"
    assert transact(memory, *again, key=b"l" * 32).status == 200


def test_limits(memory: Driver) -> None:
    many = tuple(Get("a", "x") for _ in range(STEPS_MAX + 1))
    for steps in ((), many, (Put("a", "x", doc(), idempotency=b"k" * 32),)):
        result = transact(memory, *steps)
        assert (result.status, result.code) == (422, "invalid")
    stamped = Put("a", "x", doc(), idempotency=None, stamp="now")
    assert transact(memory, stamped).status == 422
    large = doc(text="x" * 1_000_000)
    for number in range(WRITTEN_BYTES_MAX // 1_000_000 + 1):
        memory.do(Put("a", f"{number}", large))
    touch = [Patch("a", f"{number}", doc(n=1)) for number in range(9)]
    beyond = outcome(transact(memory, *touch, Delete("a", "none")))
    assert (beyond.failed, beyond.results[0].code) == (8, "too_large"), "nothing follows it"
    assert transact(memory, *touch[:8]).status == 200
    reads = [Get("a", f"{number}") for number in range(READ_BYTES_MAX // 1_000_000 + 1)]
    beyond = outcome(transact(memory, *reads, Delete("a", "none")))
    assert (beyond.failed, beyond.results[0].code) == (1, "too_large")


def test_a_transaction_is_told_as_one_group(memory: Driver) -> None:
    result = memory.bundle(
        Put("a", "0", doc()),
        Transact((Put("a", "1", doc()), Get("a", "1"), Put("b", "2", doc()))),
        Transact((Put("a", "3", doc()), Get("a", "none"))),
        Transact((Get("a", "1"),)),
        Put("a", "4", doc()),
    )
    assert [item.status for item in result] == [201, 200, 409, 200, 201]
    (placed,) = memory.machine.view.changes.read(1, None, bytes_max=1)
    assert [change[2] for change in placed.row.changes] == ["0", "1", "2", "4"]
    assert placed.row.groups == ((1, 2),)


# --- Against a plain model -----------------------------------------------------------------------

Documents = dict[tuple[str, str], tuple[int, dict[str, Any]]]
PLACES = st.tuples(st.sampled_from("ab"), st.sampled_from("xyz"))
VERSIONS = st.one_of(st.none(), st.integers(1, 4))
BODIES = st.dictionaries(st.sampled_from("mn"), st.integers(0, 3), max_size=2)


NEEDS_ONE = {"patch", "delete", "get"}


class FailedError(Exception):
    """The model cannot do a step."""


class Model:
    """Documents in a dictionary, copied before each transaction."""

    def __init__(self) -> None:
        self.documents: Documents = {}
        self.floors: dict[str, int] = {}

    def run(self, steps: list[tuple[Any, ...]]) -> int | None:
        """Do all steps; return which failed, after undoing all."""
        documents, floors = dict(self.documents), dict(self.floors)
        for index, step in enumerate(steps):
            try:
                self._step(*step)
            except FailedError:
                self.documents, self.floors = documents, floors
                return index
        return None

    def _step(
        self, kind: str, place: tuple[str, str], body: dict[str, Any], expected: int | None
    ) -> None:
        version, old = self.documents.get(place, (0, {}))
        if kind == "check":
            if expected != version and expected is not None:
                raise FailedError
            return
        if kind == "create":
            if version:
                raise FailedError
        elif expected not in {None, version} or (kind in NEEDS_ONE and not version):
            raise FailedError
        if kind == "get":
            return
        floor = self.floors.setdefault(place[0], 0)
        if kind == "delete":
            del self.documents[place]
            self.floors[place[0]] = max(floor, version)
            return
        new = merge_patch(old, body) if kind == "patch" else body
        self.documents[place] = (version + 1 if version else floor + 1, new)


def step_of(kind: str, place: tuple[str, str], body: dict[str, Any], expected: int | None) -> Step:
    packed = pack_document(body)
    match kind:
        case "create":
            return Create(*place, packed)
        case "put":
            return Put(*place, packed, expected)
        case "patch":
            return Patch(*place, packed, expected)
        case "delete":
            return Delete(*place, expected)
        case "get":
            return Get(*place)
        case _:
            return Check(*place, version=expected)


STEPS = st.tuples(
    st.sampled_from(["create", "put", "put", "patch", "delete", "get", "check"]),
    PLACES,
    BODIES,
    VERSIONS,
).map(lambda step: step if step[0] != "get" else (*step[:3], None))


@given(st.lists(st.lists(STEPS, min_size=1, max_size=5), max_size=10))
@settings(max_examples=150)
def test_transactions_do_what_a_plain_model_does(batches: list[list[tuple[Any, ...]]]) -> None:
    driver, model = Driver(MemoryStore()), Model()
    for steps in batches:
        result = transact(driver, *[step_of(*step) for step in steps])
        failed = model.run(steps)
        assert outcome(result).failed == failed
        assert result.status == (200 if failed is None else 409)
        view = driver.machine.view
        found = {
            (name, record.id): (record.version, unpack_document(record.body))
            for name in "ab"
            for record in (view.get(name, document_id) for document_id in "xyz")
            if record is not None
        }
        assert found == model.documents
        sizes = [len(key[1]) + len(pack_document(doc)) for key, (_, doc) in found.items()]
        stats = view.stats()
        assert (stats.documents, stats.bytes) == (len(found), sum(sizes))
        counts = {record.name: record.documents for record in view.collections()}
        assert {name for name, _ in found} <= set(counts)
        assert sum(counts.values()) == len(found)


def test_an_encoded_transaction_is_an_operation_like_others(memory: Driver) -> None:
    nested = msgspec.msgpack.encode(["Transact", [["Transact", [], None]], None])
    memory.cseq += 1
    (answer,) = memory.order(Sent((nested, encode_op(Get("a", "x"))), memory.cseq))
    assert answer.status == "ok", "a transaction in a transaction is refused, not executed"
