"""What is shredded: when its key is there, when it goes, and what the certificate proves."""

from collections.abc import Set as AbstractSet

import msgspec
import pytest

from dataplane.client.errors import ProofError
from dataplane.client.tombstones import tombstone_of, verify_tombstone
from dataplane.documents import collections
from dataplane.documents.archive_rows import salt_key
from dataplane.documents.commands import (
    Barrier,
    ClusterErase,
    CollectionDrop,
    CollectionPut,
    Create,
    Op,
    OpResult,
    Put,
)
from dataplane.documents.state import StateMachine
from dataplane.documents.tables import document_prefix
from dataplane.documents.types import Classes, Genesis
from dataplane.documents.values import pack_document
from dataplane.storage.engine import MemoryStore
from dataplane.storage.fragments import fragment_prefix
from dataplane.wire.proofs import TombstoneProof
from tests.dataplane.documents.test_state import Driver
from tests.proving import Replicas

SHREDDABLE = pack_document({"shreddable": True})


class Keeper(Classes):
    """Notes what keys there are to be, and what the state held when they went."""

    def __init__(self) -> None:
        self.held: set[bytes] = set()
        self.asked: list[tuple[str, set[bytes]]] = []

    def open(self, prefixes: AbstractSet[bytes]) -> None:
        self.asked.append(("open", set(prefixes)))
        self.held |= prefixes

    def settle(self, prefixes: AbstractSet[bytes]) -> None:
        self.asked.append(("settle", set(prefixes)))
        self.held &= prefixes


@pytest.fixture
def keeper() -> Keeper:
    return Keeper()


@pytest.fixture
def driver(keeper: Keeper) -> Driver:
    made = Driver(MemoryStore())
    made.machine = StateMachine(made.store, Genesis(), keeper)
    return made


def do(driver: Driver, *ops: Op) -> list[OpResult]:
    return driver.bundle(*ops)


def test_a_key_is_there_before_the_first_row_and_gone_after_the_last(
    driver: Driver, keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collections, "DROPS_PER_BATCH", 2)
    do(driver, CollectionPut("people", SHREDDABLE), Put("people", "a", pack_document({"x": 1})))
    number = driver.machine._collections.rows["people"].id
    prefix = document_prefix(number)
    assert keeper.held == {prefix, fragment_prefix(number), salt_key(number)}
    do(driver, *[Create("people", f"p{n}", pack_document({})) for n in range(4)])
    dropped_at = driver.machine.applied + 1
    do(driver, CollectionDrop("people"))
    assert keeper.held == {prefix, fragment_prefix(number)}
    assert driver.machine.view.tombstones() == []
    do(driver, Barrier())
    do(driver, Barrier())
    assert keeper.held == {prefix, fragment_prefix(number)}
    assert list(driver.store.iterate(prefix))
    do(driver, Barrier())
    assert not keeper.held
    assert not list(driver.store.iterate(prefix))
    (tombstone,) = driver.machine.view.tombstones()
    assert (tombstone.kind, tombstone.name, tombstone.number) == ("collection", "people", number)
    assert (tombstone.documents, tombstone.ordered_at) == (5, dropped_at)
    assert tombstone.erased_at == driver.machine.applied


def test_a_tombstone_stays_when_a_restore_brings_its_number_back(driver: Driver) -> None:
    do(driver, CollectionPut("people", SHREDDABLE), CollectionDrop("people"))
    do(driver, Barrier())
    (first,) = driver.machine.view.tombstones()
    rows = driver.machine._collections
    rows._meta.next_collection = first.number
    do(driver, CollectionPut("again", SHREDDABLE), CollectionDrop("again"))
    do(driver, Barrier())
    assert [found.name for found in driver.machine.view.tombstones()] == ["people", "again"]
    assert not rows.classes


def test_large_documents_of_a_dropped_collection_go_in_steps_of_bounded_bytes(
    driver: Driver,
) -> None:
    for n in range(10):
        do(driver, Put("people", f"p{n}", pack_document({"text": "x" * 800_000})))
    do(driver, CollectionDrop("people"))
    do(driver, Barrier())
    assert sum(1 for _ in driver.store.iterate(b"D")) == 4
    do(driver, Barrier())
    assert not list(driver.store.iterate(b"D"))


def test_other_collections_have_no_key_and_leave_no_tombstone(
    driver: Driver, keeper: Keeper
) -> None:
    do(driver, Put("people", "a", pack_document({})), CollectionPut("plain", pack_document({})))
    do(driver, CollectionDrop("people"))
    do(driver, Barrier())
    assert keeper.asked == [("open", set()), ("settle", set())]
    assert driver.machine.view.tombstones() == []


def test_whether_it_can_be_shredded_is_chosen_when_it_is_made(driver: Driver) -> None:
    do(driver, CollectionPut("people", SHREDDABLE), Put("plain", "a", pack_document({})))
    for name, options in (("people", {}), ("plain", {"shreddable": True})):
        (refused,) = do(driver, CollectionPut(name, pack_document(options)))
        assert refused.code == "invalid"
    both = {"shreddable": True, "conflict_policy": "last_writer_wins"}
    (refused,) = do(driver, CollectionPut("people", pack_document({"shreddable": 1})))
    assert refused.code == "invalid"
    (changed,) = do(driver, CollectionPut("people", pack_document(both)))
    assert changed.status in {200, 422}


def test_a_state_that_is_taken_up_again_asks_for_the_same_keys(
    driver: Driver, keeper: Keeper
) -> None:
    do(driver, CollectionPut("people", SHREDDABLE), Put("people", "a", pack_document({})))
    do(driver, CollectionPut("gone", SHREDDABLE), Put("gone", "a", pack_document({})))
    do(driver, CollectionDrop("gone"))
    again = Keeper()
    StateMachine(driver.store, Genesis(), again)
    assert again.held == keeper.held
    assert len(again.held) == 5, "of what was dropped the archive's went at once"


def test_tombstones_are_bounded(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collections, "TOMBSTONES_MAX", 1)
    do(driver, CollectionPut("people", SHREDDABLE))
    do(driver, CollectionDrop("people"))
    do(driver, Barrier())
    for op in (CollectionPut("people", SHREDDABLE), ClusterErase("key")):
        (refused,) = do(driver, op)
        assert refused.code == "invalid"


@pytest.fixture
def replicas() -> Replicas:
    made = Replicas()
    made.do(CollectionPut("people", SHREDDABLE), Put("people", "a", pack_document({"x": 1})))
    made.do(CollectionDrop("people"))
    made.do(Barrier())
    return made


def proof_of(replicas: Replicas, number: int, *signers: int) -> TombstoneProof:
    replicas.machine.root()
    row = replicas.machine.view.prove_tombstone(number)
    certificate = replicas.certificate(*signers)
    return TombstoneProof(1, replicas.cluster_id, replicas.epoch, number, row, certificate)


def test_a_tombstone_proves_what_was_erased_and_where(replicas: Replicas) -> None:
    (record,) = replicas.machine.view.tombstones()
    proof = tombstone_of(msgspec.json.encode(proof_of(replicas, record.number)))
    proven = verify_tombstone(proof, replicas.anchor)
    assert (proven.kind, proven.name, proven.documents) == ("collection", "people", 1)
    assert (proven.ordered_at, proven.erased_at) == (record.ordered_at, record.erased_at)
    assert proven.sequence == replicas.machine.applied
    assert "not that no copy of the key exists" in proven.in_words()
    replicas.do(ClusterErase("transit key transit/c1"))
    latest = replicas.machine.view.tombstones()[-1]
    words = verify_tombstone(proof_of(replicas, latest.number), replicas.anchor).in_words()
    assert "transit key transit/c1" in words


def test_forged_tombstones_are_refused(replicas: Replicas) -> None:
    (record,) = replicas.machine.view.tombstones()
    good = proof_of(replicas, record.number)
    replace = msgspec.structs.replace
    row = good.tombstone.row
    assert row is not None
    changed = row.replace(b"people", b"humans")
    other = Replicas(cluster_id="cd" * 16)
    forged = {
        "other_row": replace(good, tombstone=replace(good.tombstone, row=changed)),
        "other_cluster": replace(good, cluster_id=other.cluster_id),
        "other_epoch": replace(good, epoch=1),
        "malformed": replace(good, version=2),
        "no_quorum": proof_of(replicas, record.number, 0, 1),
    }
    for code, proof in forged.items():
        with pytest.raises(ProofError) as caught:
            verify_tombstone(proof, replicas.anchor)
        assert code in {caught.value.code, "no_quorum"}
    for proof in (
        replace(good, number=record.number + 1),
        proof_of(replicas, record.number + 1),
        replace(good, number=2**32),
        replace(good, certificate=replace(good.certificate, root=bytes(32))),
    ):
        with pytest.raises(ProofError):
            verify_tombstone(proof, replicas.anchor)
    for data in (b"", b"{}", b"[1]", msgspec.json.encode(good)[:-1]):
        with pytest.raises(ProofError):
            tombstone_of(data)
