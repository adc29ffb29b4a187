"""What a node keeps of evidence, tells to peers that connect, and looks at of what they send."""

from dataclasses import replace

import msgspec
import pytest

from dataplane.consensus.config import ReplicaConfig
from dataplane.consensus.evidence import PROOFS_PER_MESSAGE_MAX, proof_from
from dataplane.consensus.messages import Accusation, Commit, EquivocationProof, decode_message
from dataplane.consensus.outcome import Evidence
from dataplane.consensus.verification import is_of_another_epoch, verify_message
from dataplane.replication.accountability import (
    ADMITTED_PER_WINDOW,
    TELL_EVERY_MS,
    Accountability,
)
from dataplane.replication.metrics import ReplicationMetrics
from dataplane.simulation.scenarios.lab import START_MS, Lab
from dataplane.storage.evidence import EvidenceLog

LAB = Lab(4)


def proof(sequence: int, replica: int = 3) -> EquivocationProof:
    pair = [LAB.vote(Commit, replica, sequence, digest) for digest in (b"\1" * 32, b"\2" * 32)]
    found = proof_from(*pair)
    assert found is not None
    return found


class Links:
    """Connections, by number; what was said over them."""

    def __init__(self) -> None:
        self.numbers = {1: 1}
        self.said: list[tuple[int, int]] = []

    def connection_number(self, node_id: int) -> int:
        return self.numbers.get(node_id, 0)

    def send(self, node_id: int, payload: bytes) -> None:
        message = decode_message(payload)
        assert isinstance(message, Accusation)
        assert len(message.proofs) <= PROOFS_PER_MESSAGE_MAX
        self.said += [(node_id, each.sequence) for each in message.proofs]


@pytest.fixture
def opened(tmp_path):
    def make() -> Accountability:
        log = EvidenceLog(tmp_path / "evidence")
        return Accountability(LAB.config(0), LAB.verifier, log, ReplicationMetrics())

    return make


def test_what_was_kept_is_known_after_a_restart_and_given_back_to_the_core(opened):
    kept = opened()
    for sequence in (1, 2, 2):
        kept.on_evidence(Evidence(proof(sequence), None), START_MS)
    again = opened()
    assert [record.proof.sequence for record in again.records] == [1, 2]
    assert again.accused() == {3: 2}
    assert [each.sequence for message in again.recall() for each in message.proofs] == [1, 2]
    again.on_evidence(Evidence(proof(1), 2), START_MS)
    assert len(again.records) == 2


def test_what_proves_nothing_is_not_kept_whoever_says_so(opened):
    kept = opened()
    kept.on_evidence(Evidence(msgspec.structs.replace(proof(1), replica=2), None), START_MS)
    assert kept.records == []
    assert opened().records == []


def test_a_line_that_was_tampered_with_is_not_believed_at_start(opened, tmp_path):
    kept = opened()
    for sequence in (1, 2):
        kept.on_evidence(Evidence(proof(sequence), None), START_MS)
    path = tmp_path / "evidence"
    lines = path.read_bytes().splitlines(keepends=True)
    other = EvidenceLog(tmp_path / "other")
    other.append(
        msgspec.structs.replace(kept.records[0], proof=msgspec.structs.replace(proof(1), replica=2))
    )
    path.write_bytes((tmp_path / "other").read_bytes() + lines[1])
    assert [record.proof.sequence for record in opened().records] == [2]


def test_a_peer_that_connects_is_told_everything_once_and_slowly(opened):
    kept, links = opened(), Links()
    count = PROOFS_PER_MESSAGE_MAX + 3
    for sequence in range(1, count + 1):
        kept.on_evidence(Evidence(proof(sequence), None), START_MS)
    now_ms = START_MS
    kept.on_tick(links, now_ms)
    kept.on_tick(links, now_ms + 1)
    assert len(links.said) == PROOFS_PER_MESSAGE_MAX
    kept.on_evidence(Evidence(proof(99), None), START_MS)
    for _ in range(4):
        now_ms += TELL_EVERY_MS
        kept.on_tick(links, now_ms)
    # What is found while the peer is connected the core tells it.
    assert links.said == [(1, sequence) for sequence in range(1, count + 1)]
    links.numbers = {1: 2}
    for _ in range(3):
        now_ms += TELL_EVERY_MS
        kept.on_tick(links, now_ms)
    assert links.said[count:] == [*links.said[:count], (1, 99)]


def test_of_what_a_peer_sends_only_so_much_is_looked_at_a_second(opened):
    kept = opened()
    message = Accusation(tuple(proof(s) for s in range(1, PROOFS_PER_MESSAGE_MAX + 1)))
    allowed = ADMITTED_PER_WINDOW // PROOFS_PER_MESSAGE_MAX
    answers = [kept.admits(1, message, START_MS + turn) for turn in range(allowed + 1)]
    assert answers == [True] * allowed + [False]
    assert kept.admits(2, message, START_MS)
    assert kept.admits(1, message, START_MS + TELL_EVERY_MS)


def next_epoch(removed: int = 3) -> ReplicaConfig:
    members = tuple(member for member in LAB.members if member.replica_id != removed)
    return replace(LAB.config(0), epoch=1, members=members)


def test_what_was_proven_stays_proven_in_later_epochs_and_after_a_restart(opened, tmp_path):
    kept, links = opened(), Links()
    kept.on_evidence(Evidence(proof(1), None), START_MS)
    kept.set_config(next_epoch())
    kept.on_evidence(Evidence(proof(2), None), START_MS)
    assert [record.proof.sequence for record in kept.records] == [1]
    assert kept.recall() == []
    kept.on_tick(links, START_MS)
    assert links.said == []
    log = EvidenceLog(tmp_path / "evidence")
    later = Accountability(next_epoch(), LAB.verifier, log, ReplicationMetrics())
    assert [record.proof.replica for record in later.records] == [3]


def test_proofs_of_another_epoch_are_no_fault_of_their_sender():
    message = Accusation((proof(1),))
    assert not is_of_another_epoch(message, 0)
    assert is_of_another_epoch(message, 1)
    assert not verify_message(message, 1, next_epoch(), LAB.verifier)
