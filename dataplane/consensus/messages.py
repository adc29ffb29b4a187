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


class FetchCommitted(Message, frozen=True):
    """Ask a peer for decided batches `first..last`."""

    first: int
    last: int


class Committed(Message, frozen=True):
    """Decided batches in sequence order, each with its certificate."""

    entries: tuple[CommittedEntry, ...]


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
