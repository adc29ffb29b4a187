"""The chain of epochs: what lets a reader who trusts old members trust the new ones.

Every member of an epoch that ended signs who follows; a quorum's signatures are an `EpochChange`.
Who follows is agreed by the log already, so nothing in the cluster waits for this: it is for those
outside, who pinned the validators of an earlier epoch. The own signature is on disk before it is
sent, and repeated until the change is proven, so that a crash of all does not break the chain.

A quorum may not be left to sign: f members are dead, and one was away when its peers dropped the
batches that lead to the end. For it, and for no reader, f+1 signatures are enough: one of them is
an honest member's, who came to that end. So it learns of the epochs that followed, goes on in one
of them (`passed_over.py`), and signs the change itself: that completes the quorum for readers.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec
from msgspec.structs import replace

from dataplane.client.anchors import TrustAnchor, follow, validators_fault
from dataplane.client.errors import ProofError
from dataplane.client.provisioning import write_private
from dataplane.client.spec import NodeSpec
from dataplane.consensus.config import Signer, Verifier
from dataplane.consensus.messages import Status
from dataplane.documents.types import Configuration
from dataplane.replication.peer_messages import (
    EpochAsk,
    EpochChain,
    EpochVote,
    EpochWord,
    encode_peer_message,
)
from dataplane.replication.transport import PeerTransport
from dataplane.wire.membership import Member
from dataplane.wire.proofs import (
    EPOCH_CHANGES_MAX,
    EpochChange,
    Validator,
    Votes,
    epoch_change_payload,
)
from dataplane.wire.quorum import faults_tolerated, quorum_size

REPEAT_MS: Final = 2_000
EARLY_EPOCHS_MAX: Final = 4
_NUMBER_MAX: Final = 2**63 - 1


class OpenHandover(msgspec.Struct):
    """A change whose signatures are being collected, and whose signatures count."""

    change: EpochChange
    validators: tuple[Validator, ...]
    votes: dict[int, bytes] = msgspec.field(default_factory=dict)


class HandoverFile(msgspec.Struct):
    """What is kept on disk."""

    chain: tuple[EpochChange, ...] = ()
    open: tuple[OpenHandover, ...] = ()


def validators_of(members: tuple[Member, ...]) -> tuple[Validator, ...]:
    """Return the members as a reader knows them."""
    return tuple(Validator(member.id, member.public_key.hex()) for member in members)


class Handovers:
    """One node's part in the chain."""

    def __init__(
        self,
        path: Path,
        anchor: TrustAnchor,
        node_id: int,
        *,
        signer: Signer,
        verifier: Verifier,
        broadcast: Callable[[EpochVote | EpochAsk], None],
        send: Callable[[int, EpochChain | EpochWord], None],
    ) -> None:
        """Take up the file at `path`; `anchor` has the validators of epoch 0."""
        self._path = path
        self._anchor = anchor
        self._node_id = node_id
        self._signer = signer
        self._verifier = verifier
        self._broadcast = broadcast
        self._send = send
        kept = msgspec.json.decode(path.read_bytes(), type=HandoverFile) if path.exists() else None
        self.chain = () if kept is None else kept.chain
        """Every proven change from epoch 0 on, without gaps."""
        self._open = {} if kept is None else {item.change.epoch: item for item in kept.open}
        self._early: dict[int, dict[int, EpochVote]] = {}
        self._told: dict[int, EpochChange] = {}
        """Changes that are not proven, but signed by f+1 of the members of their epoch."""
        self._current: Configuration | None = None
        self._said_ms = 0

    def ended(self, old: Configuration, following: Configuration) -> None:
        """An epoch ended: sign who follows, if this node was a member."""
        change = EpochChange(old.epoch, following.base, validators_of(following.members), ())
        self._sign(change, validators_of(old.members))
        self._say(change.epoch)
        self._close(change.epoch)

    def resume(self, current: Configuration) -> None:
        """This node starts in an epoch: sign that the one before ended, if a crash kept it from it.

        Without the chain up to there it does not know any more whose signatures count.
        """
        before = current.epoch - 1
        opened = self._open.get(before - 1)
        if before < len(self.chain) or before in self._open:
            return
        if opened is not None:
            validators = opened.change.validators
        elif before == len(self.chain):
            validators = self._here.validators
        else:
            return
        if any(validator.id == self._node_id for validator in validators):
            change = EpochChange(before, current.base, validators_of(current.members), ())
            self._sign(change, validators)
            self._close(before)

    def passed(self, old: Configuration, following: Configuration) -> None:
        """Epochs from `old` on were passed over: sign where this was a member."""
        validators = validators_of(old.members)
        for change in self.following(old.epoch)[: following.epoch - old.epoch]:
            if change.epoch >= len(self.chain) and change.epoch not in self._open:
                self._sign(change, validators)
                self._say(change.epoch)
                self._close(change.epoch)
            validators = change.validators

    def _sign(self, change: EpochChange, validators: tuple[Validator, ...]) -> None:
        bare = replace(change, votes=())
        opened = OpenHandover(bare, validators, dict(change.votes))
        self._open[change.epoch] = opened
        if any(validator.id == self._node_id for validator in validators):
            payload = epoch_change_payload(bytes.fromhex(self._anchor.cluster_id), bare)
            opened.votes[self._node_id] = self._signer.sign(payload)
        self._save()
        for sender, vote in sorted(self._early.pop(change.epoch, {}).items()):
            self.on_vote(sender, vote)

    def on_tick(self, now_ms: int, current: Configuration, positions: Mapping[int, Status]) -> None:
        """Repeat what is not proven yet; ask for what is proven elsewhere."""
        self._current, epoch = current, current.epoch
        newest = max((status.epoch for status in positions.values()), default=epoch)
        if len(self.chain) >= max(epoch, newest) or now_ms - self._said_ms < REPEAT_MS:
            return
        self._said_ms = now_ms
        for ended in self._open:
            self._say(ended)
        self._broadcast(EpochAsk(len(self.chain), epoch))

    def _say(self, epoch: int) -> None:
        """Tell the own signature under a change that is not proven."""
        opened = self._open.get(epoch)
        own = None if opened is None else opened.votes.get(self._node_id)
        if opened is not None and own is not None:
            self._broadcast(EpochVote(epoch, opened.change.sequence, own))

    def on_vote(self, sender: int, vote: EpochVote) -> bool:
        """Count a signature; return False when it is none."""
        opened = self._open.get(vote.epoch)
        if opened is None:
            if vote.epoch >= len(self.chain) and len(self._early) < EARLY_EPOCHS_MAX:
                self._early.setdefault(vote.epoch, {})[sender] = vote
            return True
        keys = {validator.id: validator.public_key for validator in opened.validators}
        payload = epoch_change_payload(bytes.fromhex(self._anchor.cluster_id), opened.change)
        key = keys.get(sender)
        if key is None or not self._verifier.verify(bytes.fromhex(key), payload, vote.sig):
            return False
        opened.votes[sender] = vote.sig
        self._close(vote.epoch)
        return True

    def _close(self, epoch: int) -> None:
        """With a quorum the change proves itself; it joins the chain when the one before did."""
        opened = self._open.get(epoch)
        needed = 0 if opened is None else quorum_size(len(opened.validators))
        if opened is None or len(opened.votes) < needed or epoch != len(self.chain):
            return
        votes = tuple(sorted(opened.votes.items()))
        self.chain = (*self.chain, replace(opened.change, votes=votes))
        del self._open[epoch]
        self._told.pop(epoch, None)
        self._save()
        self._close(epoch + 1)

    def on_ask(self, sender: int, ask: EpochAsk) -> None:
        """Answer with the changes that follow those the asker knows."""
        following = self.chain[ask.known : ask.known + EPOCH_CHANGES_MAX]
        if following:
            self._send(sender, EpochChain(following))
        told = tuple(self._vouched_from(max(ask.epoch, len(self.chain))))
        if told:
            self._send(sender, EpochWord(told))

    def _vouched_from(self, epoch: int) -> Iterator[EpochChange]:
        """Yield the changes from an epoch on that f+1 signatures here stand for."""
        for at in range(epoch, epoch + EPOCH_CHANGES_MAX):
            opened = self._open.get(at)
            if opened is None:
                return
            if len(opened.votes) <= faults_tolerated(len(opened.validators)):
                return
            yield replace(opened.change, votes=tuple(sorted(opened.votes.items())))

    def following(self, epoch: int) -> tuple[EpochChange, ...]:
        """The changes from an epoch on: proven ones, and those that f+1 members signed."""
        found = list(self.chain[epoch:])
        while (change := self._told.get(epoch + len(found))) is not None:
            found.append(change)
        return tuple(found)

    @property
    def _here(self) -> TrustAnchor:
        """The validators behind the last proven change."""
        validators = self.chain[-1].validators if self.chain else self._anchor.validators
        return replace(self._anchor, epoch=len(self.chain), validators=validators)

    def on_chain(self, message: EpochChain) -> bool:
        """Take changes that follow the own chain; return False when they prove nothing."""
        following = tuple(c for c in message.changes if c.epoch >= len(self.chain))
        if not following:
            return True
        try:
            follow(self._here, following)
        except ProofError:
            return False
        self.chain = (*self.chain, *following)
        self._open = {e: item for e, item in self._open.items() if e >= len(self.chain)}
        self._told = {e: told for e, told in self._told.items() if e >= len(self.chain)}
        self._save()
        self._close(len(self.chain))
        return True

    def on_word(self, message: EpochWord) -> bool:
        """Take changes that f+1 members of each epoch signed; return False when they did not.

        They follow what is known here: the own epoch, the proven chain, or what was told before.
        """
        for change in message.changes[:EPOCH_CHANGES_MAX]:
            validators = self._validators_at(change.epoch)
            is_known = change.epoch < len(self.chain) or change.epoch in self._told
            if is_known or len(self._told) == EPOCH_CHANGES_MAX:
                continue
            if validators is None or not 0 < change.sequence <= _NUMBER_MAX:
                return validators is None
            votes = self._good_votes(change, validators)
            if validators_fault(change.validators) is not None or votes is None:
                return False
            self._told[change.epoch] = replace(change, votes=votes)
        return True

    def _validators_at(self, epoch: int) -> tuple[Validator, ...] | None:
        """Return the members of an epoch, None when they are not known."""
        if self._current is not None and self._current.epoch == epoch:
            return validators_of(self._current.members)
        if epoch == len(self.chain):
            return self._here.validators
        before = self._told.get(epoch - 1)
        return None if before is None else before.validators

    def _good_votes(self, change: EpochChange, validators: tuple[Validator, ...]) -> Votes | None:
        """Return the valid signatures of distinct members; None when they are not f+1."""
        payload = epoch_change_payload(bytes.fromhex(self._anchor.cluster_id), change)
        given = dict(change.votes)
        good = tuple(
            (one.id, given[one.id])
            for one in validators
            if one.id in given
            and self._verifier.verify(bytes.fromhex(one.public_key), payload, given[one.id])
        )
        return good if len(good) > faults_tolerated(len(validators)) else None

    def _save(self) -> None:
        content = HandoverFile(self.chain, tuple(self._open.values()))
        write_private(self._path, msgspec.json.encode(content))


def open_handovers(
    spec: NodeSpec, signer: Signer, verifier: Verifier, transport: PeerTransport
) -> Handovers:
    """Return a node's part in the chain that begins with the members of epoch 0."""
    genesis = spec.genesis.members or spec.members
    keys = [(member.id, member.public_key) for member in genesis]
    return Handovers(
        Path(spec.data_dir) / "epochs.json",
        TrustAnchor.of_keys(spec.cluster_id, 0, keys),
        spec.node_id,
        signer=signer,
        verifier=verifier,
        broadcast=lambda said: transport.broadcast(encode_peer_message(said)),
        send=lambda to, said: transport.send(to, encode_peer_message(said)),
    )
