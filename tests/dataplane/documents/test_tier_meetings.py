"""What else there is, where it meets documents that are cold: it finds them as if they were not."""

from hashlib import sha256

import pytest
from blake3 import blake3

from dataplane.documents.audit_commands import AuditPut
from dataplane.documents.audit_view import AuditQuestion
from dataplane.documents.commands import (
    CollectionPut,
    Create,
    Delete,
    IndexPut,
    Maintain,
    OpResult,
    Patch,
    Put,
    QuotaPut,
    Resolve,
    Transact,
    Warm,
)
from dataplane.documents.conflicts import CONFLICTS
from dataplane.documents.history import history_steps
from dataplane.documents.indexes import INDEXES_MAX
from dataplane.documents.stubs import COLD_RESULT
from dataplane.documents.tables import HEADER_BYTES
from dataplane.documents.values import pack_document, unpack_document
from dataplane.query.executor import finish
from tests.dataplane.documents.index_checks import Machine, check_clean, check_segments
from tests.dataplane.documents.test_tiering import (
    COLD_S,
    cold_machine,
    is_cold,
    pass_time,
    put,
    row,
    tick,
    tiered,
    warm,
)

KEY = sha256(b"key").digest()
PATCH = pack_document({"m": 1})
AHEAD_MS = 3_600_000


def after_warming(machine: Machine, operation: object) -> OpResult:
    """Order an operation as a gateway does: it is cold, its document comes back, and once more."""
    before = row(machine, "a")
    assert machine.apply(operation) == [COLD_RESULT]
    assert row(machine, "a") == before
    _, result = machine.apply(warm(machine, "a"), operation)
    check_clean(machine.store)
    check_segments(machine.store)
    return result


def test_the_audit_log_has_what_was_done_once_with_the_digests_of_the_bodies():
    machine = cold_machine()
    machine.apply(AuditPut("forensic"))
    body = unpack_document(warm(machine, "a").document)
    after_warming(machine, Patch("c", "a", PATCH))
    machine.apply(Delete("c", "b"))
    page = machine.state.view.audit.page(AuditQuestion(10, is_newest_first=True))
    deleted, patched, *others = [linked.record for linked in page.records]
    assert (patched.action, patched.status) == ("document.patch", 200)
    assert patched.before == blake3(pack_document(body)).digest()
    assert patched.after == blake3(pack_document({**body, "m": 1})).digest()
    assert deleted.before == blake3(pack_document({**body, "n": 2})).digest(), "of a cold one"
    assert not [record for record in others if record.action.startswith("document.patch")]


def test_an_outcome_under_a_key_is_that_of_what_was_done_at_last():
    machine = cold_machine()
    patch = Patch("c", "a", PATCH, idempotency=KEY)
    done = after_warming(machine, patch)
    assert (done.status, done.version) == (200, 2)
    assert machine.apply(patch) == [done]
    assert machine.apply(Patch("c", "a", PATCH, 9, KEY))[0].code == "idempotency_key_reused"
    pass_time(machine)
    assert is_cold(machine, "a")
    assert machine.apply(patch) == [done], "nothing has to come back for that"


def test_a_refused_write_is_kept_beside_the_body_that_it_met():
    machine = cold_machine()
    mine = pack_document({"mine": True})
    put_at = Put("c", "a", mine, 9, idempotency=KEY, stamp="s")
    refused = after_warming(machine, put_at)
    assert (refused.status, refused.version) == (412, 1)
    assert refused.conflict is not None
    kept = machine.state.view.row(CONFLICTS, refused.conflict)
    assert kept is not None
    assert unpack_document(kept[HEADER_BYTES:])["theirs"]["n"] == 1
    pass_time(machine)
    settled = after_warming(machine, Resolve("c", refused.conflict, "mine"))
    assert unpack_document(settled.document or b"") == {"mine": True}
    assert machine.state.view.row(CONFLICTS, refused.conflict) is None


def test_a_create_that_meets_a_cold_document_is_kept_beside_it_too():
    machine = cold_machine()
    created = after_warming(machine, Create("c", "a", PATCH, idempotency=KEY, stamp="s"))
    assert (created.status, created.conflict is not None) == (409, True)


def test_a_policy_merges_with_the_body():
    machine = cold_machine(conflict_policy="merge_patch")
    base = pack_document({"text": "x" * 100, "n": 1})
    mine = pack_document({"text": "x" * 100, "n": 1, "mine": True})
    merged = after_warming(machine, Put("c", "a", mine, 9, base=base))
    assert (merged.status, merged.policy, merged.met) == (200, "merge_patch", 1)


def test_the_last_writer_wins_without_the_body():
    machine = cold_machine(conflict_policy="lww")
    assert machine.apply(Put("c", "a", PATCH, 9))[0].policy == "lww"


def test_what_never_fitted_a_schema_may_go_on_not_to_fit():
    machine = cold_machine()
    schema = {"required": ["who"]}
    machine.apply(tiered(schema=schema, validation="moderate"))
    assert after_warming(machine, Put("c", "a", PATCH)).status == 200
    machine.apply(tiered(schema=schema))
    assert machine.apply(Put("c", "b", PATCH))[0].status == 422


def test_a_value_of_a_cold_document_stays_its_own():
    machine = Machine()
    machine.apply(tiered(), put("a", n=1), put("b", n=2))
    machine.apply(IndexPut("c", "i", (("n", 1),), unique=True))
    tick(machine)
    pass_time(machine)
    assert is_cold(machine, "a")
    assert machine.apply(put("other", n=1))[0].status == 409
    assert machine.apply(put("other", n=3))[0].status == 201
    assert after_warming(machine, put("a", n=4)).status == 200
    assert machine.apply(put("late", n=1))[0].status == 201
    check_clean(machine.store)


def test_a_full_cluster_still_moves_documents():
    machine = Machine()
    machine.apply(tiered(), put("a"), put("b"))
    documents = machine.state.view.collection("c").bytes
    machine.apply(QuotaPut(None, documents // 2))
    assert machine.apply(put("c"))[0].code == "storage_quota_exceeded"
    pass_time(machine)
    assert is_cold(machine, "a")
    assert machine.apply(warm(machine, "a"))[0].status == 200
    assert not is_cold(machine, "a")
    assert machine.state.view.collection("c").bytes == documents


def test_no_move_is_told_as_a_change_and_the_history_has_the_bodies():
    machine = cold_machine()

    def told() -> list:
        return machine.state.view.changes.read(0, None, bytes_max=10**9)

    before = told()
    machine.apply(warm(machine, "a"))
    pass_time(machine)
    assert is_cold(machine, "a")
    assert told() == before
    after_warming(machine, Patch("c", "a", PATCH))
    steps = history_steps(lambda: machine.state.view.changes, ("c", "a"), count_max=10)
    versions = finish(steps).versions
    assert [version.version for version in versions] == [2, 1]
    bodies = [unpack_document((version.row or b"")[HEADER_BYTES:]) for version in versions]
    assert [body.get("m") for body in bodies] == [1, None]
    assert {body["n"] for body in bodies} == {1}


def test_a_clock_that_went_ahead_and_came_back_moves_nothing_twice():
    machine = Machine()
    machine.apply(tiered(), put("a"))
    machine.now_ms += AHEAD_MS
    tick(machine)
    assert is_cold(machine, "a")
    machine.now_ms -= AHEAD_MS
    machine.apply(warm(machine, "a"), put("b"))
    machine.apply(Maintain())
    assert not is_cold(machine, "a")
    assert not machine.state.maintenance.is_due(machine.now_ms)
    machine.now_ms += AHEAD_MS + 1000 * (COLD_S + 10)
    tick(machine)
    assert is_cold(machine, "a")
    assert is_cold(machine, "b")
    check_clean(machine.store)


@pytest.mark.parametrize(
    "lie",
    [
        Warm("c", "nothing", 1, b"\x80"),
        Warm("nowhere", "a", 1, b"\x80"),
        Warm(CONFLICTS, "a", 1, b"\x80"),
        Warm("c", "hot", 1, b"\x80"),
        Warm("c", "a", 0, b"\x80"),
        Warm("c", "a", 1, b""),
        Warm("c", "a", 1, b"\xc1" * 49),
        Warm("c", "", 1, b"\x80"),
    ],
)
def test_a_gateway_that_puts_back_what_is_not_there_changes_nothing(lie):
    machine = cold_machine()
    machine.apply(put("hot"))
    before = dict(machine.state.view.rows("c"))
    machine.apply(lie)
    assert dict(machine.state.view.rows("c")) == before
    assert len(list(machine.state.view.rows(CONFLICTS))) == 0
    check_clean(machine.store)
    check_segments(machine.store)


def test_a_transaction_of_several_cold_documents_is_done_whole_or_not_at_all():
    machine = cold_machine()
    both = Transact((Patch("c", "a", PATCH), Patch("c", "b", PATCH)), KEY)
    assert machine.apply(both) == [COLD_RESULT]
    assert machine.apply(warm(machine, "a"), both)[1] == COLD_RESULT, "one is still cold"
    assert unpack_document(row(machine, "a")[HEADER_BYTES:]).get("m") is None
    assert machine.apply(warm(machine, "b"), both)[1].status == 200
    assert machine.apply(both)[0].status == 200
    assert [row(machine, name)[0] for name in "ab"] == [2, 2]
    check_clean(machine.store)
    check_segments(machine.store)


def test_options_that_are_refused_for_want_of_room_for_their_indexes_change_nothing():
    machine = Machine()
    machine.apply(CollectionPut("c", pack_document({})), put("a"))
    fields = [IndexPut("c", f"i{n}", ((f"f{n}", 1),)) for n in range(INDEXES_MAX - 1)]
    assert {result.status for result in machine.apply(*fields)} == {201}
    tick(machine)
    asked = {"ttl": 50, "tiering": {"cold_after_s": COLD_S}}
    (refused,) = machine.apply(CollectionPut("c", pack_document(asked)))
    assert (refused.status, refused.code) == (422, "invalid")
    pass_time(machine)
    assert machine.ids() == ["a"], "what was refused lets nothing expire"
    assert machine.apply(CollectionPut("c", pack_document({"ttl": 500})))[0].status == 200
    assert machine.apply(CollectionPut("c", pack_document({**asked, "ttl": 50})))[0].status == 422
    pass_time(machine)
    assert machine.ids() == ["a"], "nor sooner"
    assert machine.apply(tiered())[0].status == 200
    pass_time(machine, 2 * COLD_S)
    assert is_cold(machine, "a")


def test_options_that_change_while_documents_are_cold_find_them_as_they_are():
    machine = cold_machine()
    machine.apply(CollectionPut("c", pack_document({"tiering": {"cold_after_s": 50}, "ttl": 400})))
    tick(machine)
    assert is_cold(machine, "a")
    pass_time(machine, 400)
    assert machine.ids() == []
    check_clean(machine.store)
    check_segments(machine.store)
