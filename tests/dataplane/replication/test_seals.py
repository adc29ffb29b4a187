"""Seals: a quorum signs one state, and the reader gets what it captured there."""

import asyncio

import pytest

from dataplane.client.anchors import TrustAnchor, require_quorum
from dataplane.consensus.config import MemberKeys, ReplicaConfig
from dataplane.consensus.messages import Request
from dataplane.documents.commands import Barrier, encode_op
from dataplane.replication.errors import NotReadyError, OverloadedError
from dataplane.replication.peer_messages import SealVote
from dataplane.replication.seals import EARLY_MAX, OPEN_MAX, Seals
from dataplane.security.signing import Ed25519Signer, Ed25519Verifier
from dataplane.wire.proofs import Validator, seal_payload

CLUSTER = bytes(range(16))
ROOT = b"r" * 32


class Replicas:
    """`n` nodes that execute what they are told to, each when it is told."""

    def __init__(self, n: int, life: int = 1) -> None:
        self.signers = [Ed25519Signer(bytes([number]) * 32) for number in range(n)]
        members = tuple(
            MemberKeys(number, signer.public_key, self.gateway(number))
            for number, signer in enumerate(self.signers)
        )
        self.lost: list[tuple[int, int, SealVote]] = []
        self.is_losing = False
        self.contradictions: list[str] = []
        self.seals = [
            Seals(
                config=ReplicaConfig(cluster_id=CLUSTER, epoch=0, replica_id=me, members=members),
                signer=self.signers[me],
                verifier=Ed25519Verifier(),
                gateway_key=self.gateway(me),
                nonce=bytes([life]) * 16,
                send=lambda to, vote, me=me: self.send(me, to, vote),
                on_contradiction=self.contradictions.append,
            )
            for me in range(n)
        ]
        validators = tuple(
            Validator(number, signer.public_key.hex()) for number, signer in enumerate(self.signers)
        )
        self.anchor = TrustAnchor(CLUSTER.hex(), 0, validators)

    @staticmethod
    def gateway(number: int) -> bytes:
        return bytes([100 + number]) * 32

    def send(self, sender: int, to: int, vote: SealVote) -> None:
        if self.is_losing:
            self.lost.append((sender, to, vote))
        else:
            assert self.seals[to].on_vote(sender, vote)

    def request(self, op: bytes, gateway: int = 0) -> Request:
        return Request(self.gateway(gateway), bytes(8), 1, 0, (encode_op(Barrier()), op), b"")

    def execute(self, sequence: int, *requests: Request, on: list[int], root: bytes = ROOT) -> None:
        for replica in on:
            self.seals[replica].on_executed(sequence, requests, lambda: root)

    def vote(self, replica: int, sequence: int, root: bytes = ROOT, epoch: int = 0) -> SealVote:
        payload = seal_payload(CLUSTER, epoch=epoch, sequence=sequence, root=root)
        return SealVote(epoch, sequence, root, self.signers[replica].sign(payload))


@pytest.mark.parametrize(("n", "quorum"), [(1, 1), (3, 2), (4, 3), (6, 4), (7, 5)])
async def test_a_quorum_and_no_fewer_makes_a_certificate(n, quorum):
    replicas = Replicas(n)
    seal = replicas.seals[0].open(lambda: "captured")
    request = replicas.request(seal.op)
    for replica in range(quorum):
        assert not seal.future.done()
        replicas.execute(7, request, on=[replica])
    certificate, captured = seal.future.result()
    assert (certificate.kind, certificate.sequence, certificate.root) == ("seal", 7, ROOT)
    assert captured == "captured"
    payload = seal_payload(CLUSTER, epoch=0, sequence=7, root=ROOT)
    require_quorum(replicas.anchor, payload, certificate.votes, "the seal")
    replicas.seals[0].close(seal)
    assert replicas.seals[0].open_count == 0


async def test_votes_that_come_before_the_own_execution_are_kept():
    replicas = Replicas(4)
    seal = replicas.seals[0].open(lambda: "captured")
    request = replicas.request(seal.op)
    replicas.execute(7, request, on=[1, 2])
    assert replicas.seals[0].early_count == 2
    replicas.execute(6, on=[0])
    assert not seal.future.done()
    replicas.execute(7, request, on=[0])
    assert seal.future.done()
    assert replicas.seals[0].early_count == 0


async def test_what_is_captured_is_the_state_of_the_sealed_sequence_and_only_then():
    replicas = Replicas(4)
    state = ["before"]
    seal = replicas.seals[0].open(lambda: state[0])
    replicas.execute(6, on=[0, 1, 2, 3])
    state[0] = "at the seal"
    replicas.execute(7, replicas.request(seal.op), on=[0])
    state[0] = "after"
    replicas.execute(7, replicas.request(seal.op), on=[1, 2])
    assert seal.future.result()[1] == "at the seal"


async def test_several_readers_of_one_batch_share_a_certificate():
    replicas = Replicas(4)
    seals = [replicas.seals[0].open(lambda number=number: number) for number in range(5)]
    requests = [replicas.request(seal.op) for seal in seals]
    replicas.is_losing = True
    replicas.execute(7, *requests, on=[1, 2])
    assert len(replicas.lost) == 2, "one vote for a batch"
    replicas.is_losing = False
    replicas.execute(7, *requests, on=[0])
    for sender, to, vote in replicas.lost:
        replicas.send(sender, to, vote)
    assert [seal.future.result()[1] for seal in seals] == [0, 1, 2, 3, 4]


async def test_another_gateway_cannot_trigger_a_readers_seal_by_its_token():
    replicas = Replicas(4)
    seal = replicas.seals[0].open(lambda: "captured")
    replicas.execute(7, replicas.request(seal.op, gateway=1), on=[0, 1, 2, 3])
    assert not seal.future.done()
    replicas.execute(8, replicas.request(seal.op), on=[0, 1, 2, 3])
    assert seal.future.result()[0].sequence == 8


async def test_seals_of_an_earlier_life_are_not_taken_for_one_of_this():
    replicas, again = Replicas(4), Replicas(4, life=2)
    old, new = replicas.seals[0].open(lambda: 1), again.seals[0].open(lambda: 1)
    assert old.op != new.op
    again.execute(7, again.request(old.op), on=[0, 1, 2, 3])
    assert not new.future.done()


async def test_wrong_votes_are_refused_and_do_not_count():
    replicas = Replicas(4)
    seal = replicas.seals[0].open(lambda: None)
    replicas.execute(7, replicas.request(seal.op), on=[0])
    mine = replicas.seals[0]
    good = replicas.vote(1, 7)
    assert not mine.on_vote(2, good), "the signature of another"
    assert not mine.on_vote(1, replicas.vote(1, 7, epoch=1)), "another epoch"
    for _ in range(5):
        assert mine.on_vote(1, good), "again and again counts once"
    assert mine.on_vote(2, replicas.vote(2, 7, b"x" * 32)), "signed, but of another state"
    assert not seal.future.done()
    assert mine.on_vote(3, replicas.vote(3, 7))
    assert [replica for replica, _ in seal.future.result()[0].votes] == [0, 1, 3]


async def test_an_early_vote_with_a_false_signature_does_not_count():
    replicas = Replicas(4)
    seal = replicas.seals[0].open(lambda: None)
    assert replicas.seals[0].on_vote(1, replicas.vote(2, 7)), "not looked at yet"
    replicas.execute(7, replicas.request(seal.op), on=[0, 3])
    assert not seal.future.done()


async def test_a_node_whose_state_is_not_the_quorums_serves_no_proof_and_says_so():
    replicas = Replicas(4)
    seal = replicas.seals[0].open(lambda: None)
    request = replicas.request(seal.op)
    replicas.execute(7, request, on=[1, 2, 3])
    replicas.execute(7, request, on=[0], root=b"x" * 32)
    with pytest.raises(NotReadyError):
        seal.future.result()
    assert replicas.contradictions == ["the root at 7"]


async def test_seals_and_early_votes_are_bounded():
    replicas = Replicas(4)
    mine = replicas.seals[0]
    seals = [mine.open(lambda: None) for _ in range(OPEN_MAX)]
    replicas.execute(1, *[replicas.request(seal.op) for seal in seals[:9]], on=[0])
    with pytest.raises(OverloadedError):
        mine.open(lambda: None)
    for sequence in range(2, 300):
        mine.on_vote(1, replicas.vote(1, sequence))
    assert mine.early_count == EARLY_MAX
    mine.stop()
    for seal in seals:
        with pytest.raises(NotReadyError):
            seal.future.result()
        mine.close(seal)
    assert mine.open_count == 0
    assert not mine._sealings


async def test_a_reader_that_goes_away_leaves_nothing_behind():
    replicas = Replicas(4)
    seal = replicas.seals[0].open(lambda: None)
    replicas.execute(7, replicas.request(seal.op), on=[0])
    replicas.seals[0].close(seal)
    assert (replicas.seals[0].open_count, replicas.seals[0]._sealings) == (0, {})
    with pytest.raises(asyncio.CancelledError):
        await seal.future
