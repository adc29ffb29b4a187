"""Compliance modes: what they demand holds, and only the control plane lets go of it."""

import pytest
from nacl import bindings

from dataplane.documents.audit_commands import AuditPut, CompliancePut
from dataplane.documents.commands import (
    CollectionDrop,
    CollectionPut,
    IndexPut,
    KeyPut,
    OpResult,
    Put,
    RestoreBegin,
)
from dataplane.documents.state import StateMachine
from dataplane.documents.types import Genesis
from dataplane.documents.values import pack_document
from dataplane.storage.engine import MemoryStore
from dataplane.wire.compliance import MODES, modes_payload
from tests.dataplane.documents.test_state import Driver

CLUSTER = b"i" * 16
PUBLIC, SECRET = bindings.crypto_sign_seed_keypair(b"s" * 32)
DAY = 86_400_000
BODY = pack_document({"n": 1})


def signed(revision: int, *modes: str, secret: bytes = SECRET) -> CompliancePut:
    signature = bindings.crypto_sign(modes_payload(CLUSTER, revision, modes), secret)
    return CompliancePut(modes, revision, signature[: bindings.crypto_sign_BYTES])


@pytest.fixture
def driver() -> Driver:
    return Driver(MemoryStore(), Genesis(cluster_id=CLUSTER, admin_key=PUBLIC))


def on(driver: Driver, *modes: str) -> None:
    revision = driver.machine.view.compliance.row.revision
    assert driver.do(CompliancePut(modes, revision)).status == 200


def refused(result: OpResult, mode: str, pointer: str) -> None:
    assert (result.status, result.code) == (409, "compliance_" + mode.replace("-", "_"))
    assert result.errors[0][0] == pointer
    assert (result.detail or "").startswith(f"{mode}: ")


@pytest.mark.parametrize("mode", MODES)
def test_turning_a_mode_on_raises_what_is_too_weak_and_then_holds_it(driver: Driver, mode: str):
    on(driver, mode)
    ends, rules = driver.machine.view.audit.ends, MODES[mode]
    assert (ends.level, ends.retention_ms) == (rules.level, max(rules.retention_ms, 365 * DAY))
    refused(driver.do(AuditPut("basic")), mode, "/level")
    refused(driver.do(AuditPut(retention_ms=rules.retention_ms - 1)), mode, "/retention_ms")
    assert driver.do(AuditPut("forensic", rules.retention_ms + 1)).status == 200
    assert driver.machine._audit.keep_least_ms == rules.retention_ms


def test_settings_that_are_stronger_already_are_left(driver: Driver):
    driver.do(AuditPut("forensic", 3_000 * DAY))
    on(driver, "gdpr")
    ends = driver.machine.view.audit.ends
    assert (ends.level, ends.retention_ms) == ("forensic", 3_000 * DAY)


def test_a_key_lives_no_longer_than_the_mode_allows(driver: Driver):
    on(driver, "pci-dss")
    key = KeyPut("k", bytes(32), "shop", ("documents:read",))
    refused(driver.do(key), "pci-dss", "/expires_ms")
    late = KeyPut("k", bytes(32), "shop", (), ("*",), driver.now + 90 * DAY + 1)
    refused(driver.do(late), "pci-dss", "/expires_ms")
    fine = KeyPut("k", bytes(32), "shop", (), ("*",), driver.now + 90 * DAY)
    assert driver.do(fine).status == 201


def test_what_is_kept_is_not_dropped_nor_cleared_by_a_restore(driver: Driver):
    on(driver, "sox")
    driver.do(Put("c", "a", BODY))
    refused(driver.do(CollectionDrop("c")), "sox", "")
    begin = RestoreBegin(b"r" * 16, "c", 0, 1, bytes(32), 0, bytes(32), 0, 1, 0, replace=True)
    refused(driver.do(begin), "sox", "/replace")
    driver.do(CollectionPut("empty", pack_document({})))
    assert driver.do(CollectionDrop("empty")).status == 204


@pytest.mark.parametrize("mode", ["hipaa", "sox"])
def test_what_is_kept_does_not_begin_to_expire_nor_sooner(driver: Driver, mode: str):
    plain, hour, day = ({}, {"ttl": 3_600}, {"ttl": 86_400})
    driver.do(CollectionPut("c", pack_document(plain)))
    driver.do(CollectionPut("aged", pack_document(hour)))
    driver.bundle(Put("c", "a", BODY), Put("aged", "a", BODY))
    on(driver, mode)
    refused(driver.do(CollectionPut("c", pack_document({"ttl": 0}))), mode, "/ttl")
    refused(driver.do(CollectionPut("c", pack_document(hour))), mode, "/ttl")
    refused(driver.do(CollectionPut("aged", pack_document({"ttl": 3_599}))), mode, "/ttl")
    by_field = IndexPut("c", "i", (("n", 1),), expire_after_s=0)
    refused(driver.do(by_field), mode, "/expire_after_s")
    assert driver.do(IndexPut("c", "i", (("n", 1),))).status == 201
    for options in (hour, day, plain):
        assert driver.do(CollectionPut("aged", pack_document(options))).status == 200
    assert driver.do(CollectionPut("new", pack_document({"ttl": 0}))).status == 201
    assert driver.machine.view.stats().documents == 2


@pytest.mark.parametrize("mode", ["gdpr", "pci-dss"])
def test_modes_that_keep_nothing_let_documents_expire(driver: Driver, mode: str):
    driver.do(Put("c", "a", BODY))
    on(driver, mode)
    assert driver.do(CollectionPut("c", pack_document({"ttl": 0}))).status == 200
    assert driver.do(IndexPut("c", "i", (("n", 1),), expire_after_s=9)).status == 201


def test_the_field_that_names_persons_stays(driver: Driver):
    options = pack_document({"subject": "person.email"})
    driver.do(CollectionPut("c", options))
    on(driver, "gdpr")
    refused(driver.do(CollectionPut("c", pack_document({}))), "gdpr", "/subject")
    assert driver.do(CollectionPut("c", options)).status == 200
    assert driver.do(CollectionPut("d", pack_document({}))).status == 201


def test_of_several_modes_the_strictest_rules(driver: Driver):
    on(driver, "gdpr", "hipaa", "pci-dss", "sox")
    assert driver.machine.view.audit.ends.level == "forensic"
    refused(driver.do(AuditPut("full")), "hipaa", "/level")
    long = KeyPut("k", bytes(32), "shop", (), ("*",), driver.now + 100 * DAY)
    refused(driver.do(long), "pci-dss", "/expires_ms")


def test_only_the_control_plane_turns_a_mode_off_and_each_signature_is_good_once(driver: Driver):
    on(driver, "hipaa", "sox")
    assert driver.do(CompliancePut(("sox",), 1)).code == "forbidden"
    _, other = bindings.crypto_sign_seed_keypair(b"m" * 32)
    assert driver.do(signed(1, "sox", secret=other)).code == "forbidden"
    order = signed(1, "sox")
    assert driver.do(order).status == 200
    assert driver.machine.view.compliance.row.modes == ("sox",)
    on(driver, "hipaa", "sox")
    assert driver.do(order).code == "conflict", "the order of the past is no order now"
    assert driver.do(AuditPut("basic")).code == "compliance_hipaa"


def test_without_a_control_plane_no_mode_is_turned_off():
    driver = Driver(MemoryStore(), Genesis(cluster_id=CLUSTER))
    on(driver, "gdpr")
    assert driver.do(signed(1)).code == "forbidden"


@pytest.mark.parametrize("modes", [("iso",), ("sox", "gdpr"), ("sox", "sox")])
def test_modes_that_there_are_not_are_refused(driver: Driver, modes: tuple[str, ...]):
    assert driver.do(CompliancePut(modes, 0)).code == "invalid"


def test_modes_are_recorded_and_survive_a_restart(driver: Driver):
    on(driver, "hipaa")
    driver.do(AuditPut("basic"))
    machine = StateMachine(driver.store, Genesis())
    assert machine.view.compliance.row.modes == ("hipaa",)
    assert machine._audit.keep_least_ms == MODES["hipaa"].retention_ms
    records = list(machine.view.audit._walk(1, 9, _all()))
    assert [r.record.action for r in records] == ["compliance.put", "audit.put"]
    assert records[1].record.code == "compliance_hipaa"


def _all():
    from dataplane.documents.audit_view import AuditQuestion

    return AuditQuestion(100)
