"""Lies around the change of the view."""

from collections import deque
from collections.abc import Iterable, Sequence
from typing import override

import msgspec

from dataplane.consensus.messages import (
    NULL_DIGEST,
    AnyMessage,
    BatchBody,
    CarriedProposal,
    Commit,
    Committed,
    Heartbeat,
    NewView,
    Prepare,
    PreparedProof,
    PrePrepare,
    Replies,
    Status,
    Suspect,
    ViewChange,
    decode_batch,
    digest_of,
    encode_batch,
    new_view_payload,
    suspect_payload,
    view_change_payload,
    vote_payload,
)
from dataplane.consensus.new_view import select
from dataplane.simulation.byzantine.behaviour import Behaviour, Conspiracy
from dataplane.simulation.signatures import FakeSigner, signer_of

HUGE = 2**40
HELD_HEARTBEATS = 3
REPLAYED_MAX = 60


class ViewLiar(Behaviour):
    """What liars about views share: messages signed with the own key."""

    def suspect(self, epoch: int, view: int, replica: int) -> Suspect:
        """Return a Suspect of a view, whatever is known about its primary."""
        payload = suspect_payload(self.conspiracy.cluster_id, epoch=epoch, view=view)
        return Suspect(epoch, view, replica, self._signer.sign(payload))

    def changed(
        self, change: ViewChange, prepared: Sequence[PreparedProof], **others: object
    ) -> ViewChange:
        """Return the own ViewChange with other proofs."""
        unsigned = msgspec.structs.replace(change, prepared=tuple(prepared), **others)
        payload = view_change_payload(self.conspiracy.cluster_id, unsigned)
        return msgspec.structs.replace(unsigned, sig=self._signer.sign(payload))

    def carried(self, message: NewView, sequence: int, digest: bytes) -> CarriedProposal:
        """Return a proposal of the own NewView."""
        payload = vote_payload(
            b"PP",
            self.conspiracy.cluster_id,
            epoch=message.epoch,
            view=message.view,
            sequence=sequence,
            digest=digest,
        )
        return CarriedProposal(sequence, digest, self._signer.sign(payload))

    def begun(
        self, message: NewView, changes: Sequence[ViewChange], carried: Sequence[CarriedProposal]
    ) -> NewView:
        """Return the own NewView with other ViewChanges and proposals."""
        unsigned = msgspec.structs.replace(
            message, changes=tuple(changes), proposals=tuple(carried)
        )
        payload = new_view_payload(self.conspiracy.cluster_id, unsigned)
        return msgspec.structs.replace(unsigned, sig=self._signer.sign(payload))


class SuspectSpammer(ViewLiar):
    """Suspects every primary all the time, and those of views that nobody will ever see."""

    @override
    def outgoing(self, to: int, message: AnyMessage) -> Iterable[AnyMessage]:
        if not isinstance(message, Status | Prepare | Commit):
            return (message,)
        view = message.view + self.conspiracy.rng.choice((0, 0, 0, 1, HUGE))
        return (self.suspect(message.epoch, view, message.replica), message)


class ProofHider(ViewLiar):
    """Tells nothing of what it prepared when it changes the view."""

    @override
    def outgoing(self, to: int, message: AnyMessage) -> Iterable[AnyMessage]:
        return (self.changed(message, ()),) if isinstance(message, ViewChange) else (message,)


class ProofForger(ViewLiar):
    """Changes the view with forged certificates, and with those of an earlier change of view."""

    def __init__(self, signer: FakeSigner, conspiracy: Conspiracy) -> None:
        super().__init__(signer, conspiracy)
        self._old: tuple[PreparedProof, ...] = ()

    @override
    def outgoing(self, to: int, message: AnyMessage) -> Iterable[AnyMessage]:
        if not isinstance(message, ViewChange):
            return (message,)
        stable = 0 if message.checkpoint is None else message.checkpoint.sequence
        stale = [proof for proof in self._old if proof.sequence > stable]
        self._old = self._old or message.prepared
        forged = [self._forged(proof) for proof in message.prepared]
        lies = [self.changed(message, proofs) for proofs in (forged, stale)]
        if not self.conspiracy.side_of(to):
            lies.reverse()
        return lies

    def _forged(self, proof: PreparedProof) -> PreparedProof:
        return msgspec.structs.replace(proof, digest=digest_of(b"forged" + proof.digest))


class HugeViews(ViewLiar):
    """Claims that the cluster is in views far ahead."""

    @override
    def outgoing(self, to: int, message: AnyMessage) -> Iterable[AnyMessage]:
        view = HUGE + self.conspiracy.rng.randint(0, 9)
        match message:
            case Status():
                return (msgspec.structs.replace(message, view=view), message)
            case Prepare() | Commit():
                return (self.revoted(message, view=view), message)
            case ViewChange():
                lie = self.changed(message, message.prepared, view=view)
                return (lie, self.suspect(message.epoch, view, message.replica), message)
            case _:
                return (message,)


class FalseNewView(ViewLiar):
    """Begins its view with proposals that do not follow from the ViewChanges."""

    @override
    def outgoing(self, to: int, message: AnyMessage) -> Iterable[AnyMessage]:
        if not isinstance(message, NewView) or message.changes[0].view != message.view:
            return (message,)
        nulled = [
            self.carried(message, proposal.sequence, NULL_DIGEST) for proposal in message.proposals
        ]
        lies = [
            self.begun(message, message.changes, nulled),
            self.begun(message, message.changes, message.proposals[:-1]),
            self.begun(message, message.changes[1:], message.proposals),
        ]
        return (self.conspiracy.rng.choice(lies),)


class TwoNewViews(ViewLiar):
    """Begins its view with one quorum of ViewChanges for one half and another for the rest.

    The sets differ in its own ViewChange: with what it prepared, and without. Both are valid.
    """

    def __init__(self, signer: FakeSigner, conspiracy: Conspiracy) -> None:
        super().__init__(signer, conspiracy)
        self._own: ViewChange | None = None

    @override
    def outgoing(self, to: int, message: AnyMessage) -> Iterable[AnyMessage]:
        if isinstance(message, ViewChange):
            self._own = message
        is_mine = isinstance(message, NewView) and self._own is not None
        if not is_mine or not self.conspiracy.side_of(to):
            return (message,)
        assert isinstance(message, NewView)
        return (self._other_story(message),)

    def _other_story(self, message: NewView) -> NewView:
        own = self._own
        if own is None or own.view != message.view or own.replica != message.replica:
            return message
        others = [change for change in message.changes if change.replica != own.replica]
        others = others[: len(message.changes) - 1]
        changes = sorted([*others, self.changed(own, ())], key=lambda change: change.replica)
        selection = select(changes, 0)
        if selection is None:
            return message
        first = selection.checkpoint_sequence + 1
        carried = [
            self.carried(message, first + offset, digest)
            for offset, digest in enumerate(selection.digests)
        ]
        return self.begun(message, changes, carried)


class SelectiveNewView(Behaviour):
    """Shows the beginning of its view to f+1 replicas only."""

    @override
    def outgoing(self, to: int, message: AnyMessage) -> Iterable[AnyMessage]:
        favoured = [r for r in range(self.conspiracy.n) if r not in self.conspiracy.liars]
        is_kept = isinstance(message, NewView) and to not in favoured[: self.conspiracy.f + 1]
        return () if is_kept else (message,)


class OldViews(Behaviour):
    """Repeats what moved or belonged to views that are over."""

    def __init__(self, signer: FakeSigner, conspiracy: Conspiracy) -> None:
        super().__init__(signer, conspiracy)
        self._said: deque[AnyMessage] = deque(maxlen=REPLAYED_MAX)

    @override
    def outgoing(self, to: int, message: AnyMessage) -> Iterable[AnyMessage]:
        if isinstance(message, ViewChange | NewView | Suspect | PrePrepare | Heartbeat):
            self._said.append(message)
        if isinstance(message, Replies) or not self._said:
            return (message,)
        return (self.conspiracy.rng.choice(self._said), message)


class SlowPrimary(Behaviour):
    """Holds every proposal back for some heartbeats, just short of being suspected."""

    def __init__(self, signer: FakeSigner, conspiracy: Conspiracy) -> None:
        super().__init__(signer, conspiracy)
        self._held: dict[int, deque[tuple[int, PrePrepare]]] = {}
        self._beats: dict[int, int] = {}

    @override
    def outgoing(self, to: int, message: AnyMessage) -> Iterable[AnyMessage]:
        held, beat = self._held.setdefault(to, deque()), self._beats.get(to, 0)
        if isinstance(message, PrePrepare):
            if message not in (proposal for _, proposal in held):
                held.append((beat, message))
            return ()
        if not isinstance(message, Heartbeat):
            return (message,)
        self._beats[to] = beat + 1
        released: list[AnyMessage] = [message]
        while held and held[0][0] + HELD_HEARTBEATS <= beat:
            released.append(held.popleft()[1])
        return released


class Censor(Behaviour):
    """Leaves one gateway's requests out of what it proposes, however often they come."""

    def __init__(self, signer: FakeSigner, conspiracy: Conspiracy) -> None:
        super().__init__(signer, conspiracy)
        victim = min(set(range(conspiracy.n)) - conspiracy.liars)
        self._victim = signer_of("gateway", victim).public_key
        self._told: dict[tuple[int, int], bytes] = {}

    @override
    def outgoing(self, to: int, message: AnyMessage) -> Iterable[AnyMessage]:
        match message:
            case PrePrepare():
                return (self._cut(message),)
            case Commit() | Prepare() if (message.view, message.sequence) in self._told:
                digest = self._told[message.view, message.sequence]
                return (self.revoted(message, digest=digest),)
            case _:
                return (message,)

    def _cut(self, message: PrePrepare) -> PrePrepare:
        batch = decode_batch(message.batch)
        kept = tuple(request for request in batch.requests if request.client != self._victim)
        if len(kept) == len(batch.requests):
            return message
        data = encode_batch(msgspec.structs.replace(batch, requests=kept))
        self._told[message.view, message.sequence] = digest_of(data)
        return self.resigned(message, digest=digest_of(data), batch=data)


class Withholder(Behaviour):
    """Gives its proposals to a bare quorum and no batch to anybody who asks for one."""

    @override
    def outgoing(self, to: int, message: AnyMessage) -> Iterable[AnyMessage]:
        others = [r for r in range(self.conspiracy.n) if r not in self.conspiracy.liars]
        is_kept = isinstance(message, PrePrepare) and to == others[-1]
        return () if is_kept or isinstance(message, BatchBody | Committed) else (message,)


VIEW_LIARS: dict[str, type[Behaviour]] = {
    "suspect_spammer": SuspectSpammer,
    "proof_hider": ProofHider,
    "proof_forger": ProofForger,
    "huge_views": HugeViews,
    "false_new_view": FalseNewView,
    "two_new_views": TwoNewViews,
    "selective_new_view": SelectiveNewView,
    "old_views": OldViews,
    "slow_primary": SlowPrimary,
    "censor": Censor,
    "withholder": Withholder,
}
