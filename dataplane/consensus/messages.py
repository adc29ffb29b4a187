"""The messages of the protocol (PBFT, signature variant) and their encoding.

Castro & Liskov, "Practical Byzantine Fault Tolerance", OSDI'99, section 4. Votes name a batch by
its digest; the batch itself travels once, as opaque bytes inside the pre-prepare. Every signed
payload starts with a domain (kind, cluster, shard, epoch), so that no signature is valid elsewhere.
"""

from typing import Final

import msgspec
from blake3 import blake3

from dataplane.wire.errors import MalformedMessageError

DIGEST_BYTES: Final = 32
EXEC_VERSION: Final = 1


class Request(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """A client's bundle of operations under one signature.

    `client` is the Ed25519 key that signed it, `session` an opened session (8 bytes), `cseq` its
    number inside the session, `ack` the highest number below which the client has every answer.
    """

    client: bytes
    session: bytes
    cseq: int
    ack: int
    ops: tuple[bytes, ...]
    sig: bytes

    @property
    def key(self) -> tuple[bytes, bytes, int]:
        """What names the request whatever its ack: (client, session, cseq)."""
        return (self.client, self.session, self.cseq)


class Batch(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """What one sequence number orders. `ts_ms` is the primary's proposal for the agreed time."""

    ts_ms: int
    requests: tuple[Request, ...]
    exec_version: int = EXEC_VERSION


class Message(
    msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False, tag=True
):
    """Base of everything that travels between replicas; the tag is the class name."""


class PrePrepare(Message, frozen=True):
    """The primary's proposal: its signature covers the digest, and the digest the batch."""

    epoch: int
    view: int
    sequence: int
    digest: bytes
    replica: int
    sig: bytes
    batch: bytes


class Prepare(Message, frozen=True):
    """A backup's vote that it accepted the primary's proposal for (view, sequence)."""

    epoch: int
    view: int
    sequence: int
    digest: bytes
    replica: int
    sig: bytes


class Commit(Message, frozen=True):
    """A vote that a quorum prepared the digest for (view, sequence)."""

    epoch: int
    view: int
    sequence: int
    digest: bytes
    replica: int
    sig: bytes


class Checkpoint(Message, frozen=True):
    """A replica's statement of the state's root after executing `sequence`."""

    epoch: int
    sequence: int
    root: bytes
    replica: int
    sig: bytes


class CommitCertificate(Message, frozen=True):
    """A quorum of Commit signatures: proof that `digest` is decided at `sequence`."""

    epoch: int
    view: int
    sequence: int
    digest: bytes
    votes: tuple[tuple[int, bytes], ...]


class CheckpointCertificate(Message, frozen=True):
    """A quorum of Checkpoint signatures: the checkpoint is stable and proves itself."""

    epoch: int
    sequence: int
    root: bytes
    votes: tuple[tuple[int, bytes], ...]


class CommittedEntry(
    msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False
):
    """A decided batch with the proof that it was decided."""

    batch: bytes
    certificate: CommitCertificate


class Forward(Message, frozen=True):
    """Requests a backup passes on to the primary."""

    requests: tuple[Request, ...]


class Reply(Message, frozen=True):
    """One replica's digest of a request's results, for the replica that serves the client."""

    client: bytes
    session: bytes
    cseq: int
    sequence: int
    digest: bytes
    replica: int


class Replies(Message, frozen=True):
    """The replies of one batch to one client, in one message."""

    replies: tuple[Reply, ...]


class Status(Message, frozen=True):
    """Where a replica stands; sent every second, so that a laggard notices in a quiet cluster."""

    epoch: int
    view: int
    stable: int
    executed: int
    replica: int
    is_active: bool  # Whether it takes part in `view`; if not, it waits for the view's NewView.
    head: bytes  # The digest of the batch at `executed`; empty when it is known no more.


class Heartbeat(Message, frozen=True):
    """The primary is there, also when there is nothing to propose."""

    epoch: int
    view: int
    replica: int


class Suspect(Message, frozen=True):
    """A replica's vote that the view should be left. It goes on voting in the view meanwhile."""

    epoch: int
    view: int
    replica: int
    sig: bytes


class TimeoutCertificate(Message, frozen=True):
    """A blocking set (n-q+1) of Suspect signatures: proof that `view` may be left."""

    epoch: int
    view: int
    votes: tuple[tuple[int, bytes], ...]


class PreparedProof(
    msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False
):
    """A prepared certificate: the primary's proposal and q-1 Prepares of distinct backups."""

    view: int
    sequence: int
    digest: bytes
    proposal_sig: bytes
    votes: tuple[tuple[int, bytes], ...]


class ViewChange(Message, frozen=True):
    """A replica enters `view`: what it prepared above its stable checkpoint (OSDI'99, 4.4).

    `prepared` has the proof of the highest view for each sequence, in sequence order; `checkpoint`
    is None while none was ever stable.
    """

    epoch: int
    view: int
    timeout: TimeoutCertificate
    checkpoint: CheckpointCertificate | None
    prepared: tuple[PreparedProof, ...]
    replica: int
    sig: bytes


class CarriedProposal(
    msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False
):
    """The new primary's pre-prepare of a carried sequence: the signature of a PrePrepare."""

    sequence: int
    digest: bytes
    sig: bytes


class NewView(Message, frozen=True):
    """The new primary's proof that the view may begin, and what it carries over (OSDI'99, 4.4).

    `changes` are q ViewChanges by replica; everyone recomputes `proposals` from them.
    """

    epoch: int
    view: int
    changes: tuple[ViewChange, ...]
    proposals: tuple[CarriedProposal, ...]
    replica: int
    sig: bytes


class FetchBatch(Message, frozen=True):
    """Ask a peer for a batch whose digest is known."""

    sequence: int
    digest: bytes


class BatchBody(Message, frozen=True):
    """A batch; its digest tells what it is."""

    sequence: int
    batch: bytes


class FetchCommitted(Message, frozen=True):
    """Ask a peer for decided batches `first..last`."""

    first: int
    last: int


class Committed(Message, frozen=True):
    """Decided batches in sequence order, each with its certificate."""

    entries: tuple[CommittedEntry, ...]


class BatchesGone(Message, frozen=True):
    """The answer to `FetchCommitted` of one who executed `first` and no longer has the batch."""

    first: int


class FetchNodes(Message, frozen=True):
    """Ask for nodes of the state's tree at a checkpoint; a path is a string of nibbles."""

    sequence: int
    root: bytes
    paths: tuple[str, ...]


class TreeNodes(Message, frozen=True):
    """Nodes of the tree by their paths, as many as fit."""

    sequence: int
    nodes: tuple[tuple[str, bytes], ...]


class FetchRows(Message, frozen=True):
    """Ask for rows of the state at a checkpoint by the hashes of their keys."""

    sequence: int
    root: bytes
    keys: tuple[bytes, ...]


class TreeRows(Message, frozen=True):
    """Rows of the state, key and value, as many as fit."""

    sequence: int
    rows: tuple[tuple[bytes, bytes], ...]


class CheckpointGone(Message, frozen=True):
    """The answer of one who cannot show the state at that checkpoint."""

    sequence: int


class Statement(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """What one signed message said: its digest (or root), and the signature under it."""

    digest: bytes
    sig: bytes


class EquivocationProof(
    msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False
):
    """Two signed statements of one replica that no honest replica ever makes both.

    It needs no batch and no context: signatures cover digests. `kind` is a name of
    `dataplane.consensus.evidence.KINDS`; the statements are in the order of their digests, so that
    one lie has one proof.
    """

    kind: str
    epoch: int
    view: int
    sequence: int
    replica: int
    first: Statement
    second: Statement

    @property
    def key(self) -> tuple[str, int, int, int, int]:
        """What the lie was about: (kind, replica, epoch, view, sequence)."""
        return (self.kind, self.replica, self.epoch, self.view, self.sequence)


class Accusation(Message, frozen=True):
    """Proofs that replicas lied, from whoever found them; each is checked before it is believed."""

    proofs: tuple[EquivocationProof, ...]


class Proposed(Message, frozen=True):
    """A primary's signed proposal without its batch, shown to one who voted for another digest."""

    epoch: int
    view: int
    sequence: int
    digest: bytes
    replica: int
    sig: bytes


type AnyMessage = (
    PrePrepare
    | Prepare
    | Commit
    | Checkpoint
    | CheckpointCertificate
    | Forward
    | Replies
    | Status
    | FetchCommitted
    | Committed
    | Heartbeat
    | Suspect
    | TimeoutCertificate
    | ViewChange
    | NewView
    | FetchBatch
    | BatchBody
    | BatchesGone
    | FetchNodes
    | TreeNodes
    | FetchRows
    | TreeRows
    | CheckpointGone
    | Accusation
    | Proposed
)

_message_encoder = msgspec.msgpack.Encoder()
_message_decoder: msgspec.msgpack.Decoder[AnyMessage] = msgspec.msgpack.Decoder(AnyMessage)
_batch_decoder = msgspec.msgpack.Decoder(Batch)


def encode_message(message: AnyMessage) -> bytes:
    """Return the MessagePack of a message."""
    return _message_encoder.encode(message)


def decode_message(data: bytes) -> AnyMessage:
    """Return the message in `data`.

    Raises:
        MalformedMessageError: The bytes are not a message of this protocol.
    """
    try:
        return _message_decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedMessageError(str(error)) from error


def encode_batch(batch: Batch) -> bytes:
    """Return the bytes of a batch; its digest is over exactly these."""
    return _message_encoder.encode(batch)


def decode_batch(data: bytes) -> Batch:
    """Return the batch in `data`.

    Raises:
        MalformedMessageError: The bytes are not a batch.
    """
    try:
        return _batch_decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedMessageError(str(error)) from error


def digest_of(data: bytes) -> bytes:
    """Return the BLAKE3-256 digest."""
    return blake3(data).digest()


NULL_BATCH: Final = encode_batch(Batch(0, ()))
"""What a new view puts where a sequence was prepared nowhere: it executes as nothing."""
NULL_DIGEST: Final = digest_of(NULL_BATCH)


def _payload(kind: bytes, cluster_id: bytes, numbers: tuple[int, ...], body: bytes) -> bytes:
    head = b"AEROL1|" + kind + b"|" + cluster_id
    return digest_of(head + b"".join(number.to_bytes(8, "big") for number in numbers) + body)


def request_payload(cluster_id: bytes, request: Request) -> bytes:
    """Return what a client signs: everything but the signature, bound to the cluster."""
    body = _message_encoder.encode((request.client, request.session, request.ops))
    return _payload(b"REQ", cluster_id, (request.cseq, request.ack), body)


def vote_payload(
    kind: bytes, cluster_id: bytes, *, epoch: int, view: int, sequence: int, digest: bytes
) -> bytes:
    """Return what a replica signs for a pre-prepare (PP), prepare (P) or commit (C)."""
    return _payload(kind, cluster_id, (0, epoch, view, sequence), digest)


def checkpoint_payload(cluster_id: bytes, *, epoch: int, sequence: int, root: bytes) -> bytes:
    """Return what a replica signs for a checkpoint."""
    return _payload(b"CKPT", cluster_id, (0, epoch, sequence), root)


def suspect_payload(cluster_id: bytes, *, epoch: int, view: int) -> bytes:
    """Return what a replica signs to say that a view should be left."""
    return _payload(b"SU", cluster_id, (0, epoch, view), b"")


def view_change_digest(change: ViewChange) -> bytes:
    """Return the digest of what a ViewChange says besides its view and sender."""
    return digest_of(_message_encoder.encode((change.timeout, change.checkpoint, change.prepared)))


def new_view_digest(new_view: NewView) -> bytes:
    """Return the digest of what a NewView says besides its view."""
    return digest_of(_message_encoder.encode((new_view.changes, new_view.proposals)))


def view_payload(
    kind: bytes, cluster_id: bytes, *, epoch: int, view: int, replica: int, digest: bytes
) -> bytes:
    """Return what a replica signs for a view change (VC) or a new view (NV).

    The signature covers a digest, so that two of them prove a lie without all that they carry.
    """
    return _payload(kind, cluster_id, (0, epoch, view, replica), digest)


def view_change_payload(cluster_id: bytes, change: ViewChange) -> bytes:
    """Return what a replica signs for a view change: all of it but the signature."""
    return view_payload(
        b"VC",
        cluster_id,
        epoch=change.epoch,
        view=change.view,
        replica=change.replica,
        digest=view_change_digest(change),
    )


def new_view_payload(cluster_id: bytes, new_view: NewView) -> bytes:
    """Return what the new primary signs: all of the NewView but the signature."""
    return view_payload(
        b"NV",
        cluster_id,
        epoch=new_view.epoch,
        view=new_view.view,
        replica=new_view.replica,
        digest=new_view_digest(new_view),
    )
