"""Conflict policies and kept conflicts, as the replicated state decides them."""

import pytest
from blake3 import blake3

from dataplane.documents.commands import (
    CollectionDrop,
    CollectionPut,
    Create,
    Delete,
    Get,
    OpResult,
    Patch,
    Put,
    QuotaPut,
    Resolve,
    Update,
)
from dataplane.documents.conflicts import CONFLICTS, POLICY_OPTION, RECORDED_BYTES_MAX
from dataplane.documents.merging import unpack_fields
from dataplane.documents.values import pack_document, unpack_document
from dataplane.storage.engine import MemoryStore
from tests.dataplane.documents.test_state import Driver

STAMP = "0000018bcfe56800-0000-laptop"


class Lab(Driver):
    """One replica, with shorter words."""

    def __init__(self, policy: str | None = None) -> None:
        super().__init__(MemoryStore())
        self.keys = 0
        if policy is not None:
            options = pack_document({POLICY_OPTION: policy})
            assert self.do(CollectionPut("c", options)).status == 201
        self.put({"a": 1, "b": 1})

    def key(self) -> bytes:
        self.keys += 1
        return blake3(b"%d" % self.keys).digest()

    def put(self, document: dict, **more: object) -> OpResult:
        return self.do(Put("c", "x", pack_document(document), **more))

    def here(self) -> dict | None:
        result = self.do(Get("c", "x"))
        return None if result.document is None else unpack_document(result.document)

    def kept(self, conflict: str) -> dict:
        record = self.machine.view.get(CONFLICTS, conflict)
        return unpack_document(record.body)

    def refuse(self, op_type=Put, value: dict | None = None, **more: object) -> OpResult:
        """Do a stale write that asks to be kept."""
        options = {
            "if_version": 1,
            "idempotency": self.key(),
            "base": pack_document({"a": 1, "b": 1}),
            "stamp": STAMP,
            **more,
        }
        arguments = [] if value is None else [pack_document(value)]
        return self.do(op_type("c", "x", *arguments, **options))


def test_reject_is_the_default_and_tells_the_version():
    lab = Lab()
    lab.put({"a": 2, "b": 1})
    result = lab.put({"a": 3, "b": 1}, if_version=1, base=pack_document({"a": 1, "b": 1}))
    assert (result.status, result.code, result.version) == (412, "precondition_failed", 2)
    assert result.policy is None
    assert lab.here() == {"a": 2, "b": 1}


def test_the_last_ordered_wins_and_is_told_what_it_overwrote():
    lab = Lab("lww")
    lab.put({"a": 2, "b": 1})
    result = lab.put({"a": 3}, if_version=1)
    assert (result.status, result.policy, result.met, result.version) == (200, "lww", 2, 3)
    assert lab.here() == {"a": 3}
    fitting = lab.put({"a": 4}, if_version=3)
    assert (fitting.policy, fitting.met) == (None, None)
    assert lab.do(Delete("c", "x", if_version=1)).met == 4
    again = lab.put({"a": 5}, if_version=1)
    assert (again.status, again.met) == (201, 0)
    assert lab.do(Patch("c", "y", pack_document({"a": 1}), if_version=1)).status == 404


def test_changes_of_different_fields_are_merged():
    lab = Lab("merge_patch")
    base = pack_document({"a": 1, "b": 1})
    lab.put({"a": 2, "b": 1, "new": 0})
    result = lab.put({"a": 1, "b": 7}, if_version=1, base=base)
    assert (result.status, result.policy, result.met, result.version) == (200, "merge_patch", 2, 3)
    assert unpack_document(result.document) == lab.here() == {"a": 2, "b": 7, "new": 0}
    patched = lab.do(Patch("c", "x", pack_document({"b": 8}), if_version=3, base=base))
    assert patched.policy is None
    lab.put({"a": 5, "b": 8, "new": 0})
    patched = lab.do(Patch("c", "x", pack_document({"new": None}), 4, None, patched.document))
    assert (patched.status, patched.met) == (200, 5)
    assert lab.here() == {"a": 5, "b": 8}


def test_changes_of_one_field_are_refused_with_both_values():
    lab = Lab("merge_patch")
    lab.put({"a": 2, "b": 1})
    base = pack_document({"a": 1, "b": 1})
    for op in (
        Put("c", "x", pack_document({"a": 3, "b": 1}), if_version=1, base=base),
        Patch("c", "x", pack_document({"a": 3}), if_version=1, base=base),
        Update("c", "x", pack_document({"$inc": {"a": 2}}), if_version=1, base=base),
    ):
        result = lab.do(op)
        assert (result.status, result.version) == (412, 2)
        assert unpack_fields(result.fields) == [
            {"pointer": "/a", "base": 1, "mine": 3, "theirs": 2}
        ]
    assert lab.here() == {"a": 2, "b": 1}


def test_a_merge_needs_the_base_and_a_document():
    lab = Lab("merge_patch")
    lab.put({"a": 2})
    assert "no base" in lab.put({"a": 3}, if_version=1).detail
    assert lab.put({"a": 3}, if_version=1, base=b"\xc1").status == 400
    lab.do(Delete("c", "x"))
    gone = lab.put({"a": 3}, if_version=1, base=pack_document({"a": 1}))
    assert (gone.status, gone.version) == (412, None)
    assert unpack_fields(gone.fields) == [{"pointer": "", "base": {"a": 1}, "mine": {"a": 3}}]


def test_a_deletion_is_merged_only_with_no_change():
    lab = Lab("merge_patch")
    base = pack_document({"a": 1, "b": 1})
    lab.put({"a": 2, "b": 1})
    assert lab.do(Delete("c", "x", 1, None, base)).status == 412
    lab.put({"a": 1, "b": 1})
    assert lab.do(Delete("c", "x", 1, None, base)).met == 3
    assert lab.here() is None


def test_an_unknown_policy_is_refused_by_the_state_itself():
    lab = Lab()
    result = lab.do(CollectionPut("d", pack_document({POLICY_OPTION: "guess"})))
    assert (result.status, result.errors[0][0]) == (422, "/conflict_policy")
    assert lab.machine.view.collection("d") is None


def test_a_refused_write_with_a_stamp_is_kept_with_both_values():
    lab = Lab()
    lab.put({"a": 2, "b": 1})
    result = lab.refuse(value={"a": 3, "b": 1})
    assert (result.status, result.version) == (412, 2)
    assert lab.kept(result.conflict) == {
        "collection": "c",
        "id": "x",
        "op": "put",
        "code": "precondition_failed",
        "stamp": STAMP,
        "base_version": 1,
        "base": {"a": 1, "b": 1},
        "mine": {"a": 3, "b": 1},
        "their_version": 2,
        "theirs": {"a": 2, "b": 1},
        "fields": [],
    }
    assert lab.machine.view.stats().documents == 2


def test_a_repeated_refusal_is_kept_once():
    lab = Lab()
    lab.put({"a": 2})
    key = lab.key()
    first = lab.refuse(value={"a": 3}, idempotency=key)
    assert lab.refuse(value={"a": 3}, idempotency=key) == first
    assert lab.machine.view.collection(CONFLICTS).documents == 1


def test_a_create_that_meets_a_document_and_an_update_that_meets_none_are_kept():
    lab = Lab()
    create = Create("c", "x", pack_document({"a": 9}), idempotency=lab.key(), stamp=STAMP)
    kept = lab.kept(lab.do(create).conflict)
    assert (kept["op"], kept["theirs"], kept["their_version"]) == ("create", {"a": 1, "b": 1}, 1)
    increment = pack_document({"$inc": {"n": 1}})
    update = Update("c", "none", increment, idempotency=lab.key(), stamp=STAMP)
    kept = lab.kept(lab.do(update).conflict)
    assert (kept["op"], kept["mine"], kept["theirs"]) == ("update", {"$inc": {"n": 1}}, None)


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"idempotency": None}, 422),
        ({"stamp": "no spaces"}, 422),
        ({"stamp": "s" * 65}, 422),
        ({"base": b"\xc1"}, 400),
        ({"base": pack_document({"_x": 1})}, 422),
        ({"base": pack_document({"a": "b" * RECORDED_BYTES_MAX})}, 413),
    ],
)
def test_what_could_not_be_kept_is_refused_before_anything_else(more, status):
    lab = Lab()
    assert lab.refuse(value={"a": 3}, **more).status == status
    assert lab.machine.view.collection(CONFLICTS) is None


def test_a_record_that_would_be_too_large_leaves_theirs_where_it_is():
    lab = Lab()
    lab.put({"a": "t" * 900_000})
    kept = lab.kept(lab.refuse(value={"a": "m" * 500_000}).conflict)
    assert kept["mine"] == {"a": "m" * 500_000}
    assert (kept["theirs"], kept["theirs_omitted"]) == (None, True)


def test_a_full_plan_keeps_nothing_and_forgets_the_refusal():
    lab = Lab()
    lab.put({"a": 2})
    used = lab.machine.view.stats().bytes
    lab.do(QuotaPut(None, used + 10))
    key = lab.key()
    assert lab.refuse(value={"a": 3}, idempotency=key).status == 507
    lab.do(QuotaPut(None, None))
    result = lab.refuse(value={"a": 3}, idempotency=key)
    assert result.status == 412
    assert result.conflict is not None


def conflict_of(lab: Lab, op_type=Put, value: dict | None = None) -> str:
    lab.put({"a": 2, "b": 1})
    result = lab.refuse(op_type, value)
    assert result.status == 412
    return result.conflict


def test_taking_theirs_forgets_the_conflict():
    lab = Lab()
    conflict = conflict_of(lab, value={"a": 3})
    result = lab.do(Resolve("c", conflict, "theirs"))
    assert (result.status, unpack_document(result.document)) == (200, {"a": 2, "b": 1})
    assert lab.machine.view.collection(CONFLICTS).documents == 0
    assert lab.do(Resolve("c", conflict, "theirs")).status == 404


@pytest.mark.parametrize(
    ("op_type", "value", "after"),
    [
        (Put, {"a": 3}, {"a": 3}),
        (Patch, {"b": 5}, {"a": 2, "b": 5}),
        (Update, {"$inc": {"a": 10}}, {"a": 12, "b": 1}),
        (Delete, None, None),
    ],
)
def test_taking_mine_does_the_refused_write_now(op_type, value, after):
    lab = Lab()
    result = lab.do(Resolve("c", conflict_of(lab, op_type, value), "mine"))
    assert result.status == 200, result
    assert lab.here() == after
    assert lab.machine.view.collection(CONFLICTS).documents == 0


def test_a_document_of_ones_own_settles_it_too():
    lab = Lab()
    result = lab.do(Resolve("c", conflict_of(lab, value={"a": 3}), "document", pack_document({})))
    assert (result.status, result.version) == (200, 3)
    assert lab.here() == {}


def test_what_changed_since_the_conflict_is_not_overwritten_unseen():
    lab = Lab()
    conflict = conflict_of(lab, value={"a": 3})
    lab.put({"a": 4})
    refused = lab.do(Resolve("c", conflict, "mine"))
    assert (refused.status, refused.version) == (412, 3)
    assert lab.here() == {"a": 4}
    assert lab.kept(conflict)["mine"] == {"a": 3}
    assert lab.do(Resolve("c", conflict, "mine", if_version=3)).status == 200
    assert lab.here() == {"a": 3}


def test_a_resolution_that_fails_keeps_the_conflict():
    lab = Lab()
    conflict = conflict_of(lab, Update, {"$inc": {"a": 1}})
    lab.put({"a": "text"})
    assert lab.do(Resolve("c", conflict, "mine", if_version=3)).status == 422
    assert lab.do(Resolve("c", conflict, "guess")).status == 412
    assert lab.do(Resolve("c", conflict, "guess", if_version=3)).status == 422
    assert lab.do(Resolve("other", conflict, "theirs")).status == 404
    assert lab.kept(conflict)["op"] == "update"


def test_only_the_cluster_writes_to_the_collection_of_conflicts():
    lab = Lab()
    conflict = conflict_of(lab, value={"a": 3})
    nothing = pack_document({})
    for op in (
        Put(CONFLICTS, conflict, nothing),
        Create(CONFLICTS, "new", nothing),
        Patch(CONFLICTS, conflict, nothing),
        Update(CONFLICTS, conflict, pack_document({"$set": {"a": 1}})),
        Delete(CONFLICTS, conflict),
        CollectionPut(CONFLICTS, nothing),
        CollectionDrop(CONFLICTS),
        Put("_other", "x", nothing),
    ):
        assert lab.do(op).status == 422, op
    assert lab.do(Get(CONFLICTS, conflict)).status == 200
