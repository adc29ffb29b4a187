"""Erasing a person: exactly the documents that name them, in steps, with a record of it."""

import json
from typing import Any

import pytest

from dataplane.documents.audit_commands import EraseBegin, EraseEnd, EraseStep
from dataplane.documents.audit_view import AuditQuestion
from dataplane.documents.commands import (
    CollectionPut,
    Put,
    decode_result,
    encode_op,
)
from dataplane.documents.state import StateMachine
from dataplane.documents.subjects import subject_hash
from dataplane.documents.types import Genesis
from dataplane.documents.values import pack_document
from dataplane.storage.engine import MemoryStore
from tests.dataplane.documents.test_state import Driver, Sent

ID, SALT = b"e" * 16, b"s" * 16
BEGIN = EraseBegin(ID, subject_hash(SALT, "ada@example.org"), SALT)


def doc(**fields: Any) -> bytes:
    return pack_document(fields)


@pytest.fixture
def driver() -> Driver:
    driver = Driver(MemoryStore())
    driver.do(CollectionPut("orders", doc(subject="customer.email")))
    driver.do(Put("orders", "hers", doc(customer={"email": "ada@example.org"})))
    driver.do(
        Put("orders", "both", doc(customer={"email": ["bob@example.org", "ada@example.org"]}))
    )
    driver.do(Put("orders", "his", doc(customer={"email": "bob@example.org"})))
    driver.do(Put("orders", "nobody's", doc(total=3)))
    driver.do(Put("other", "hers", doc(customer={"email": "ada@example.org"})))
    return driver


def test_a_step_removes_what_names_the_person_and_nothing_else(driver: Driver):
    assert driver.do(BEGIN).status == 201
    ids = ("hers", "both", "his", "nobody's", "gone", "hers")
    assert driver.do(EraseStep(ID, "orders", ids)).version == 2
    assert driver.do(EraseStep(ID, "other", ("hers",))).version == 0, "it names no field"
    view = driver.machine.view
    left = [key.decode() for key, _ in view.rows("orders")]
    assert left == ["his", "nobody's"]
    assert view.get("other", "hers") is not None
    (orders,) = [record for record in view.collections() if record.name == "orders"]
    assert orders.documents == 2


def test_steps_that_remove_nothing_leave_nothing_behind(driver: Driver):
    driver.do(BEGIN)
    before = driver.machine.view.erasing.rows[ID].removed
    for name in ("none", "n" * 10_000, "orders"):
        assert driver.do(EraseStep(ID, name, ("his",))).version == 0
    assert driver.machine.view.erasing.rows[ID].removed == before == ()


def test_kept_conflicts_that_name_the_person_go_too(driver: Driver):
    body = doc(customer={"email": "ada@example.org"}, n=2)
    kept = driver.do(
        Put("orders", "his", body, if_version=99, idempotency=b"k" * 32, stamp="now")
    ).conflict
    assert kept is not None
    driver.do(BEGIN)
    assert driver.do(EraseStep(ID, "_conflicts", (kept,))).version == 1
    assert driver.machine.view.get("_conflicts", kept) is None


def test_the_end_is_recorded_with_a_hash_and_what_was_removed(driver: Driver):
    driver.do(BEGIN)
    driver.do(EraseStep(ID, "orders", ("hers",)))
    driver.do(EraseStep(ID, "orders", ("both",)))
    ended = driver.do(EraseEnd(ID))
    page = driver.machine.view.audit.page(AuditQuestion(10, is_newest_first=True))
    record = page.records[0].record
    assert (record.action, record.index, record.id) == ("subject.erase", ended.version, ID.hex())
    assert record.version is None, "that is of documents"
    facts = json.loads(record.detail or "")
    assert facts["removed"] == {"orders": 2}
    assert facts["subject"] == subject_hash(SALT, "ada@example.org").hex()
    assert "ada" not in json.dumps([str(linked.record) for linked in page.records])
    row = driver.machine.view.erasing.rows[ID]
    assert (row.record, row.sequence) == (record.index, record.sequence)


def test_an_erasure_goes_on_where_it_stood_and_ends_once(driver: Driver):
    driver.do(BEGIN)
    driver.do(EraseStep(ID, "orders", ("hers",)))
    driver.machine = StateMachine(driver.store, Genesis())
    assert driver.do(BEGIN).status == 200
    driver.do(EraseStep(ID, "orders", ("both",)))
    assert driver.do(EraseEnd(ID)).status == 200
    assert driver.machine.view.erasing.rows[ID].removed == (("orders", 2),)
    for again in (EraseStep(ID, "orders", ()), EraseEnd(ID)):
        assert driver.do(again).code == "conflict"


def test_what_makes_no_sense_is_refused(driver: Driver):
    assert driver.do(EraseStep(ID, "orders", ("hers",))).code == "not_found"
    assert driver.do(EraseBegin(b"short", BEGIN.subject, SALT)).code == "invalid"
    driver.do(BEGIN)
    assert driver.do(EraseBegin(ID, bytes(32), SALT)).code == "conflict"
    assert driver.do(EraseStep(ID, "orders", ("x",) * 501)).code == "invalid"


@pytest.mark.parametrize("path", ["", ".", "a..b", "_id", "a.$b", 3, "a" * 201, ".".join("a" * 9)])
def test_a_subject_option_is_the_path_of_a_field(driver: Driver, path: object):
    result = driver.do(CollectionPut("c", doc(subject=path)))
    assert (result.code, result.errors[0][0]) == ("invalid", "/subject")


def test_every_replica_removes_the_same(driver: Driver):
    driver.do(BEGIN)
    driver.do(EraseStep(ID, "orders", ("both", "hers", "his")))
    driver.do(EraseEnd(ID))
    other = StateMachine(MemoryStore(), driver_genesis())
    for number, (at_ms, requests) in enumerate(driver.log, 1):
        other.apply(number, at_ms, requests)
    assert other.root() == driver.machine.root()
    again = [Sent((encode_op(BEGIN),), driver.cseq + 1)]
    (answer,) = other.apply(other.applied + 1, driver.now, again).requests
    assert decode_result(answer.results[0]).status == 200


def driver_genesis() -> Genesis:
    from tests.dataplane.documents.test_state import GENESIS

    return GENESIS
