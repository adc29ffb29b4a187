"""The chain of epochs: what lets a reader who trusts old members trust the new ones.

Every member of an epoch that ended signs who follows; a quorum's signatures are an `EpochChange`.
Who follows is agreed by the log already, so nothing in the cluster waits for this: it is for those
outside, who pinned the validators of an earlier epoch. The own signature is on disk before it is
sent, and repeated until the change is proven, so that a crash of all does not break the chain.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec
from msgspec.structs import replace

from dataplane.client.anchors import TrustAnchor, follow
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
    encode_peer_message,
)
from dataplane.replication.transport import PeerTransport
from dataplane.wire.membership import Member
from dataplane.wire.proofs import (
    EPOCH_CHANGES_MAX,
    EpochChange,
    Validator,
    epoch_change_payload,
)
from dataplane.wire.quorum import quorum_size

REPEAT_MS: Final = 2_000
EARLY_EPOCHS_MAX: Final = 4


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
        send: Callable[[int, EpochChain], None],
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
        self._said_ms = 0

    def ended(self, old: Configuration, following: Configuration) -> None:
        """An epoch ended: sign who follows, if this node was a member."""
        change = EpochChange(old.epoch, following.base, validators_of(following.members), ())
        opened = OpenHandover(change, validators_of(old.members))
        self._open[old.epoch] = opened
        if any(member.id == self._node_id for member in old.members):
            payload = epoch_change_payload(bytes.fromhex(self._anchor.cluster_id), change)
            opened.votes[self._node_id] = self._signer.sign(payload)
        self._save()
        for sender, vote in sorted(self._early.pop(old.epoch, {}).items()):
            self.on_vote(sender, vote)
        self._say(opened)
        self._close(old.epoch)

    def on_tick(self, now_ms: int, epoch: int, positions: Mapping[int, Status]) -> None:
        """Repeat what is not proven yet; ask for what is proven elsewhere."""
        newest = max((status.epoch for status in positions.values()), default=epoch)
        if len(self.chain) >= max(epoch, newest) or now_ms - self._said_ms < REPEAT_MS:
            return
        self._said_ms = now_ms
        for opened in self._open.values():
            self._say(opened)
        self._broadcast(EpochAsk(len(self.chain)))

    def _say(self, opened: OpenHandover) -> None:
        own = opened.votes.get(self._node_id)
        if own is not None:
            self._broadcast(EpochVote(opened.change.epoch, opened.change.sequence, own))

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
        self._save()
        self._close(epoch + 1)

    def on_ask(self, sender: int, ask: EpochAsk) -> None:
        """Answer with the changes that follow those the asker knows."""
        following = self.chain[ask.known : ask.known + EPOCH_CHANGES_MAX]
        if following:
            self._send(sender, EpochChain(following))

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
        self._save()
        self._close(len(self.chain))
        return True

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
