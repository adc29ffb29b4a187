"""The records of the write-ahead log and what a restart makes of them.

Theory of operation: a replica writes down what it is about to say before it says it. After a crash
it must be able to repeat every vote it may have sent and must never send a different one
(consensus: persist before send; PBFT with volatile votes loses decisions when all crash at once).
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from dataplane.consensus.messages import (
    Checkpoint,
    CheckpointCertificate,
    Commit,
    CommitCertificate,
    NewView,
    Prepare,
    PreparedProof,
    PrePrepare,
    ViewChange,
)


class Accepted(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    """The proposal this replica accepted for its slot, with its own vote (none on the primary).

    The batch is empty when an earlier record of the sequence holds it (a carried proposal).
    """

    pre_prepare: PrePrepare
    vote: Prepare | None

    @property
    def epoch(self) -> int:
        """The epoch the record is of."""
        return self.pre_prepare.epoch


class Prepared(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    """A prepared certificate and this replica's Commit."""

    vote: Commit
    proof: PreparedProof

    @property
    def epoch(self) -> int:
        """The epoch the record is of."""
        return self.vote.epoch


class Decided(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    """A commit certificate; with the batch when no Accepted record of this replica holds it."""

    certificate: CommitCertificate
    batch: bytes | None

    @property
    def epoch(self) -> int:
        """The epoch the record is of."""
        return self.certificate.epoch


class Checkpointed(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    """The root this replica signed for a checkpoint."""

    vote: Checkpoint

    @property
    def epoch(self) -> int:
        """The epoch the record is of."""
        return self.vote.epoch


class MadeStable(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    """A stable checkpoint."""

    certificate: CheckpointCertificate

    @property
    def epoch(self) -> int:
        """The epoch the record is of."""
        return self.certificate.epoch


class ViewLeft(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    """The ViewChange this replica signed: it votes in no view below any more."""

    change: ViewChange

    @property
    def epoch(self) -> int:
        """The epoch the record is of."""
        return self.change.epoch


class ViewEntered(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    """The NewView by which this replica takes part in a view."""

    new_view: NewView

    @property
    def epoch(self) -> int:
        """The epoch the record is of."""
        return self.new_view.epoch


class EpochClosed(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    """The epoch's last sequence is executed; every decision before is on disk with this."""

    epoch: int
    sequence: int


type Record = (
    EpochClosed | Accepted | Prepared | Decided | Checkpointed | MadeStable | ViewLeft | ViewEntered
)

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Record] = msgspec.msgpack.Decoder(Record)


def encode_record(record: Record) -> bytes:
    """Return the MessagePack of a record."""
    return _encoder.encode(record)


def decode_record(data: bytes) -> Record:
    """Return the record in what `encode_record` wrote."""
    return _decoder.decode(data)


@dataclass(slots=True)
class Recovered:
    """What a replica knew of one epoch when it stopped, and every decision still in the log."""

    applied: int = 0
    ends_at: int | None = None
    """The last sequence of the epoch, when the state knows it."""
    closed: bool = False
    """The epoch was left, with the proofs of its decisions or after a wait for them."""
    later_epoch: bool = False
    """The log goes on into a later epoch, which the state has not reached."""
    root: bytes | None = None
    """The root of the state at `applied`, when that is a checkpoint."""
    base_root: bytes | None = None
    """The root of the state that the epoch began with, while it may have no certificate yet."""
    accepted: dict[int, Accepted] = field(default_factory=dict)
    """The newest proposal of each sequence."""
    bodies: dict[tuple[int, bytes], bytes] = field(default_factory=dict)
    """Batches by sequence and digest."""
    prepared: dict[int, Prepared] = field(default_factory=dict)
    decided: dict[int, Decided] = field(default_factory=dict)
    checkpoints: dict[int, Checkpoint] = field(default_factory=dict)
    stable: CheckpointCertificate | None = None
    past_stable: CheckpointCertificate | None = None
    """The newest of the epochs before."""
    left: ViewChange | None = None
    entered: NewView | None = None
    past_commits: dict[int, Commit] = field(default_factory=dict)
    """The own Commits of earlier epochs, the newest of each sequence."""
    amnesia: bool = False
    """Votes may be missing from the log: never vote again."""


def recover(
    records: Iterable[bytes],
    applied: int,
    root: bytes | None = None,
    *,
    epoch: int = 0,
    ends_at: int | None = None,
) -> Recovered:
    """Rebuild what the replica knew of an epoch from its log and the sequence its state holds.

    `root` is the state's root when `applied` is a checkpoint. The state may be newer than the log:
    if the vote for the checkpoint at the high watermark is lost, only the state can give it again,
    and without it nothing would ever be ordered any more. Decisions of every epoch are kept: peers
    that lag may ask for them.
    """
    recovered = Recovered(applied=applied, root=root, ends_at=ends_at)
    for data in records:
        record = _decoder.decode(data)
        if record.epoch > epoch:
            recovered.later_epoch = True
        if isinstance(record, Decided) or record.epoch == epoch:
            _recover_record(recovered, record)
        elif isinstance(record, Accepted):
            # No vote of this epoch; but a decision of its own epoch may need the batch.
            _recover_body(recovered, record.pre_prepare)
        elif record.epoch < epoch and isinstance(record, Prepared):
            # An earlier epoch's laggards may need it, where a crash took the certificate.
            recovered.past_commits[record.vote.sequence] = record.vote
        elif record.epoch < epoch and isinstance(record, MadeStable):
            recovered.past_stable = _newest(recovered.past_stable, record.certificate)
    return recovered


def _newest(
    known: CheckpointCertificate | None, other: CheckpointCertificate
) -> CheckpointCertificate:
    return other if known is None or other.sequence > known.sequence else known


def _recover_record(recovered: Recovered, record: Record) -> None:
    match record:
        case Checkpointed(vote=checkpoint):
            recovered.checkpoints[checkpoint.sequence] = checkpoint
        case MadeStable(certificate=stable):
            recovered.stable = _newest(recovered.stable, stable)
        case ViewLeft(change=change):
            recovered.left = change
        case ViewEntered(new_view=new_view):
            recovered.entered = new_view
        case Accepted() | Prepared() | Decided():
            _recover_slot(recovered, record)
        case EpochClosed():
            # The state itself is in the next epoch, or comes there by executing again.
            recovered.closed = True


def _recover_body(recovered: Recovered, proposal: PrePrepare) -> None:
    if proposal.batch:
        recovered.bodies[proposal.sequence, proposal.digest] = proposal.batch


def _recover_slot(recovered: Recovered, record: Accepted | Prepared | Decided) -> None:
    """Take a record of one sequence; views rise in the log, so the last one is the newest."""
    match record:
        case Accepted(pre_prepare=proposal):
            recovered.accepted[proposal.sequence] = record
            _recover_body(recovered, proposal)
        case Prepared(vote=vote):
            recovered.prepared[vote.sequence] = record
        case Decided(certificate=certificate, batch=batch):
            recovered.decided[certificate.sequence] = record
            if batch is not None:
                recovered.bodies[certificate.sequence, certificate.digest] = batch
