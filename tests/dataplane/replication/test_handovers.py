"""The chain of epochs: signatures of a quorum hand over from members to members."""

import itertools
from pathlib import Path

from msgspec.structs import replace

from dataplane.client.anchors import TrustAnchor, follow
from dataplane.consensus.messages import Status
from dataplane.documents.types import Configuration
from dataplane.replication.handovers import Handovers, validators_of
from dataplane.replication.peer_messages import EpochAsk, EpochChain, EpochVote, EpochWord
from dataplane.security.signing import Ed25519Signer, Ed25519Verifier
from dataplane.wire.membership import Member
from dataplane.wire.proofs import EpochChange, epoch_change_payload

CLUSTER_ID = "ab" * 16


def signer(node_id: int) -> Ed25519Signer:
    return Ed25519Signer(bytes([node_id + 1]) * 32)


def member(node_id: int) -> Member:
    own = signer(node_id).public_key
    return Member(node_id, "127.0.0.1", 1, 2, own, bytes([node_id + 101]) * 32)


def configuration(epoch: int, *ids: int) -> Configuration:
    return Configuration(epoch, 100 * epoch, tuple(member(i) for i in ids))


class Nodes:
    """Nodes whose messages arrive when the test says so."""

    def __init__(self, folder: Path, genesis: tuple[int, ...], count: int) -> None:
        keys = [(i, signer(i).public_key.hex()) for i in genesis]
        self.anchor = TrustAnchor.of_keys(CLUSTER_ID, 0, keys)
        self.folder = folder
        self.said: list[tuple[int, object]] = []
        self.at = {i: self.open(i) for i in range(count)}

    def open(self, i: int) -> Handovers:
        return Handovers(
            self.folder / f"{i}.json",
            self.anchor,
            i,
            signer=signer(i),
            verifier=Ed25519Verifier(),
            broadcast=lambda message: self.said.append((i, message)),
            send=lambda to, message: self.said.append((i, message)),
        )

    def deliver(self, *to: int) -> None:
        said, self.said = self.said, []
        for sender, message in said:
            for i in to:
                if i == sender:
                    continue
                if isinstance(message, EpochVote):
                    assert self.at[i].on_vote(sender, message)
                elif isinstance(message, EpochAsk):
                    self.at[i].on_ask(sender, message)
                elif isinstance(message, EpochWord):
                    assert self.at[i].on_word(message)
                else:
                    assert self.at[i].on_chain(message)


def test_a_quorum_of_the_old_members_proves_the_new_ones(tmp_path):
    nodes = Nodes(tmp_path, (0, 1, 2, 3), 4)
    old, new = configuration(0, 0, 1, 2, 3), configuration(1, 1, 2, 3, 4)
    for i in (0, 1):
        nodes.at[i].ended(old, new)
    nodes.deliver(0, 1)
    assert not nodes.at[0].chain, "two of four are no quorum"
    nodes.at[2].ended(old, new)
    nodes.deliver(0, 1, 2)
    assert len(nodes.at[0].chain) == 1
    assert [v.id for v in follow(nodes.anchor, nodes.at[0].chain).validators] == [1, 2, 3, 4]


def test_votes_that_come_before_the_own_end_count(tmp_path):
    nodes = Nodes(tmp_path, (0, 1, 2), 3)
    old, new = configuration(0, 0, 1, 2), configuration(1, 0, 1, 2, 3)
    nodes.at[1].ended(old, new)
    nodes.deliver(0)
    nodes.at[0].ended(old, new)
    assert len(nodes.at[0].chain) == 1


def test_a_vote_of_a_stranger_or_for_others_is_refused(tmp_path):
    nodes = Nodes(tmp_path, (0, 1, 2), 4)
    old = configuration(0, 0, 1, 2)
    nodes.at[0].ended(old, configuration(1, 0, 1, 2, 3))
    nodes.said.clear()
    nodes.at[1].ended(old, configuration(1, 1))
    (_, vote) = nodes.said.pop()
    assert isinstance(vote, EpochVote)
    assert not nodes.at[0].on_vote(1, vote)
    assert not nodes.at[0].on_vote(3, vote)
    assert not nodes.at[0].chain


def test_the_own_signature_outlives_a_crash_and_is_repeated(tmp_path):
    nodes = Nodes(tmp_path, (0, 1, 2), 3)
    old, new = configuration(0, 0, 1, 2), configuration(1, 0, 1, 2, 3)
    for i in (0, 1):
        nodes.at[i].ended(old, new)
    nodes.said.clear()
    for i in (0, 1):
        nodes.at[i] = nodes.open(i)
        nodes.at[i].on_tick(1_000_000, configuration(1, 0, 1, 2), {})
    nodes.deliver(0, 1)
    assert len(nodes.at[0].chain) == len(nodes.at[1].chain) == 1
    assert nodes.open(0).chain == nodes.at[0].chain


def test_a_crash_between_the_end_and_the_signature_breaks_no_chain(tmp_path):
    nodes = Nodes(tmp_path, (0, 1, 2), 4)
    old, new = configuration(0, 0, 1, 2), configuration(1, 0, 1, 2, 3)
    nodes.at[0].ended(old, new)
    nodes.at[1], nodes.at[3] = nodes.open(1), nodes.open(3)
    for i in (0, 1, 3):
        nodes.at[i].resume(new)
        nodes.at[i].on_tick(1_000_000, new, {})
    nodes.deliver(0)
    assert [v.id for v in follow(nodes.anchor, nodes.at[0].chain).validators] == [0, 1, 2, 3]
    assert [replica for replica, _ in nodes.at[0].chain[0].votes] == [0, 1], "3 was no member"


def test_a_newcomer_learns_a_chain_of_any_length(tmp_path):
    nodes = Nodes(tmp_path, (0,), 2)
    for epoch in range(70):
        nodes.at[0].ended(configuration(epoch, 0), configuration(epoch + 1, 0))
    assert len(nodes.at[0].chain) == 70
    for turn in range(1, 4):
        nodes.said.clear()
        nodes.at[1].on_tick(turn * 1_000_000, configuration(70, 0, 1, 2), {})
        nodes.deliver(0, 1)
        nodes.deliver(0, 1)
    assert nodes.at[1].chain == nodes.at[0].chain
    assert nodes.open(1).chain == nodes.at[0].chain


def test_a_chain_that_proves_nothing_is_refused(tmp_path):
    nodes = Nodes(tmp_path, (0,), 2)
    for epoch in range(2):
        nodes.at[0].ended(configuration(epoch, 0), configuration(epoch + 1, 0))
    first, second = nodes.at[0].chain
    assert not nodes.at[1].on_chain(EpochChain((replace(first, sequence=7), second)))
    assert not nodes.at[1].on_chain(EpochChain((second,)))
    assert not nodes.at[1].chain
    assert nodes.at[1].on_chain(EpochChain((first, second)))
    assert nodes.at[1].on_chain(EpochChain((first,))), "nothing new is no fault"


def told(nodes: Nodes, sleeper: int, here: Configuration, now_ms: int) -> EpochWord | None:
    """Have a node ask, and the others answer; return what it was told besides the chain."""
    nodes.said.clear()
    ahead = {0: Status(here.epoch + 1, 0, 1, 1, 0, is_active=True, head=b"")}
    nodes.at[sleeper].on_tick(now_ms, here, ahead)
    asks = [message for _, message in nodes.said if isinstance(message, EpochAsk)]
    nodes.said.clear()
    for node_id, node in nodes.at.items():
        if node_id != sleeper:
            for ask in asks:
                node.on_ask(sleeper, ask)
    words = [message for _, message in nodes.said if isinstance(message, EpochWord)]
    return words[0] if words else None


def test_who_slept_learns_of_the_end_from_more_than_may_lie_and_completes_the_quorum(tmp_path):
    nodes = Nodes(tmp_path, (0, 1, 2, 3), 3)
    old, new = configuration(0, 0, 1, 2, 3), configuration(1, 0, 1, 2)
    for i in (0, 1):
        nodes.at[i].ended(old, new)
    nodes.deliver(0, 1)
    assert not nodes.at[0].chain, "one is dead and one slept: no quorum can sign"
    word = told(nodes, 2, old, 1_000_000)
    assert word is not None
    assert nodes.at[2].following(0) == ()
    assert nodes.at[2].on_word(word)
    assert [change.validators for change in nodes.at[2].following(0)] == [
        validators_of(new.members)
    ]
    assert not nodes.at[2].chain, "readers are told nothing that no quorum signed"
    nodes.said.clear()
    nodes.at[2].passed(old, new)
    nodes.deliver(0, 1)
    for i in (0, 1, 2):
        assert len(nodes.at[i].chain) == 1
        assert nodes.open(i).chain == nodes.at[i].chain
    assert follow(nodes.anchor, nodes.at[2].chain).epoch == 1


def test_a_word_leads_through_several_epochs(tmp_path):
    nodes = Nodes(tmp_path, (0, 1, 2, 3), 3)
    epochs = [configuration(0, 0, 1, 2, 3), *(configuration(i, 0, 1, 2, 4) for i in (1, 2))]
    for old, new in itertools.pairwise(epochs):
        for i in (0, 1):
            nodes.at[i].ended(old, new)
        nodes.deliver(0, 1)
    word = told(nodes, 2, epochs[0], 1_000_000)
    assert word is not None
    assert nodes.at[2].on_word(word)
    assert [change.epoch for change in nodes.at[2].following(0)] == [0, 1]
    nodes.said.clear()
    nodes.at[2].passed(epochs[0], epochs[2])
    nodes.deliver(0, 1)
    assert len(nodes.at[0].chain) == 2


def test_a_word_of_no_more_than_may_lie_is_refused(tmp_path):
    nodes = Nodes(tmp_path, (0, 1, 2, 3), 4)
    old, false = configuration(0, 0, 1, 2, 3), configuration(1, 3, 4, 5)
    nodes.at[3].ended(old, false)
    assert told(nodes, 2, old, 1_000_000) is None, "one signature is no word"
    change = EpochChange(0, false.base, validators_of(false.members), ())
    payload = epoch_change_payload(bytes.fromhex(CLUSTER_ID), change)
    own, stranger = signer(3).sign(payload), signer(7).sign(payload)
    forged = (
        ((3, own),),
        ((3, own), (3, own)),
        ((3, own), (7, stranger)),
        ((0, own), (3, own)),
    )
    for votes in forged:
        assert not nodes.at[2].on_word(EpochWord((replace(change, votes=votes),)))
    assert nodes.at[2].following(0) == ()
