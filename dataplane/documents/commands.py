"""The operations a cluster orders and the results it answers, with their one canonical encoding."""

from typing import Final, NamedTuple

import msgspec
from blake3 import blake3

from dataplane.documents.archive_commands import TierOp
from dataplane.documents.audit_commands import (
    AuditPut,
    CompliancePut,
    EraseBegin,
    EraseEnd,
    EraseStep,
    ReportAudit,
)
from dataplane.documents.operation import Operation

OP_BYTES_MAX: Final = 1_200_000
"""A 1 MiB document plus its envelope; longer operations are refused before they are ordered."""

SESSION_ID_BYTES: Final = 8
ACTOR_CHARS_MAX: Final = 200


class OpenSession(Operation, frozen=True):
    """Open a client session; must be the only operation of its request.

    The request carries `session = session_id(client, nonce)` and `cseq = 0`. The same nonce gives
    the same session again.
    """

    nonce: bytes


class Create(Operation, frozen=True):
    """Create a document; 409 `conflict` when the id exists.

    `document` is MessagePack of the JSON object without any `_` name (see `values.py`).
    `generated` says that the gateway made up `id`, so that a retry under the same idempotency key
    with another made-up id still counts as the same operation.
    """

    collection: str
    id: str
    document: bytes
    generated: bool = False
    idempotency: bytes | None = None
    stamp: str | None = None


class Put(Operation, frozen=True):
    """Create or replace a document; `if_version` is If-Match, `if_none_match` is `*`.

    Of every write: `base` is the document at `if_version`, for collections that merge. With a
    `stamp` (of the client's clock, for people to read) a write that is refused for a conflict is
    kept in `_conflicts`; it needs `idempotency`.
    """

    collection: str
    id: str
    document: bytes
    if_version: int | None = None
    if_none_match: bool = False
    idempotency: bytes | None = None
    base: bytes | None = None
    stamp: str | None = None


class Patch(Operation, frozen=True):
    """Apply an RFC 7396 merge patch (MessagePack object); the result carries the new document."""

    collection: str
    id: str
    patch: bytes
    if_version: int | None = None
    idempotency: bytes | None = None
    base: bytes | None = None
    stamp: str | None = None


class Update(Operation, frozen=True):
    """Apply update operators (MessagePack object of `$set`, `$inc`, ...), all or nothing."""

    collection: str
    id: str
    operators: bytes
    if_version: int | None = None
    idempotency: bytes | None = None
    base: bytes | None = None
    stamp: str | None = None


class Delete(Operation, frozen=True):
    """Delete a document; 404 `not_found` when it is not there."""

    collection: str
    id: str
    if_version: int | None = None
    idempotency: bytes | None = None
    base: bytes | None = None
    stamp: str | None = None


class Resolve(Operation, frozen=True):
    """Settle a conflict kept in `_conflicts` and forget it.

    `take` is "mine" (do the refused write now), "theirs" (leave what is there) or "document" (put
    `document`). `if_version` is the version that is to be overwritten, 0 for none; by default the
    one that the record names.
    """

    collection: str
    conflict: str
    take: str
    document: bytes | None = None
    if_version: int | None = None
    idempotency: bytes | None = None


class Get(Operation, frozen=True):
    """Read a document in order: a linearizable read."""

    collection: str
    id: str


class Check(Operation, frozen=True):
    """Inside a transaction: go on only if the document is as expected.

    `exists` says whether there must be one, `version` which. Whether it fits `filter` (packed) was
    found out by the gateway: `holds`, of the version `seen`, 0 when there was none.
    """

    collection: str
    id: str
    exists: bool | None = None
    version: int | None = None
    filter: bytes | None = None
    seen: int = 0
    holds: bool = True


type Step = Create | Put | Patch | Update | Delete | Get | Check


class Transact(Operation, frozen=True):
    """Do all steps in order, each seeing what those before it did, or none (`transactions.py`)."""

    steps: tuple[Step, ...]
    idempotency: bytes | None = None


class Barrier(Operation, frozen=True):
    """Do nothing, in order: once answered, local state covers everything acknowledged before."""


class Seal(Operation, frozen=True):
    """Do nothing, in order; every replica signs the root of the state after its batch.

    `token` makes it one of its kind, so that its gateway knows it again when it is executed.
    """

    token: bytes


class CollectionPut(Operation, frozen=True):
    """Create a collection or replace its options (MessagePack object)."""

    name: str
    options: bytes
    idempotency: bytes | None = None


class CollectionDrop(Operation, frozen=True):
    """Drop a collection and all it holds."""

    name: str
    idempotency: bytes | None = None


class IndexPut(Operation, frozen=True):
    """Make an index of a collection that is there (`index_definitions.Definition`)."""

    collection: str
    name: str
    fields: tuple[tuple[str, int], ...]
    unique: bool = False
    sparse: bool = False
    partial: bytes | None = None
    expire_after_s: int | None = None
    idempotency: bytes | None = None


class IndexDrop(Operation, frozen=True):
    """Drop an index."""

    collection: str
    name: str
    idempotency: bytes | None = None


class Maintain(Operation, frozen=True):
    """Do a larger step of what is left to be done (`maintenance.py`), before this batch."""


class Warm(Operation, frozen=True):
    """Put the body of a cold document back, if its stub is still of this version and fits it.

    `rests`: nobody asked for the document, so it need not stay for long.
    """

    collection: str
    id: str
    version: int
    document: bytes
    rests: bool = False


class ClusterErase(Operation, frozen=True):
    """Note that the cluster is about to be erased by destroying the key that `subject` names.

    The result carries the number of the tombstone as `version`.
    """

    subject: str
    idempotency: bytes | None = None


class KeyPut(Operation, frozen=True):
    """Create or replace an API key record; `hash` is the SHA-256 of the whole token.

    `requests_per_s` is the key's own limit. Of another `kind`: an issuer signs tokens with the key
    whose public half `hash` is, for no more than its scopes; a revocation has a token's id.
    """

    id: str
    hash: bytes
    name: str
    scopes: tuple[str, ...]
    collections: tuple[str, ...] = ("*",)
    expires_ms: int | None = None
    idempotency: bytes | None = None
    requests_per_s: int | None = None
    kind: str = "key"


class KeyRevoke(Operation, frozen=True):
    """Remove an API key record."""

    id: str
    idempotency: bytes | None = None


class QuotaPut(Operation, frozen=True):
    """Replace the limits; None is unlimited. Without a period, calls count per calendar month."""

    calls_limit: int | None
    storage_limit_bytes: int | None
    period_start_ms: int | None = None
    period_end_ms: int | None = None
    idempotency: bytes | None = None
    requests_per_s: int | None = None
    """Of every key, at every node."""


class ReportCalls(Operation, frozen=True):
    """Add the calls one gateway served since its last report.

    `rates` has what keys with a rate asked of it in a second; other gateways heed that.
    """

    node: int
    calls_by_class: dict[str, int]
    rates: dict[str, int] = msgspec.field(default_factory=dict)


class Reconfigure(Operation, frozen=True):
    """Change the members: an encoded `wire.membership.NextMembers` and its signature.

    The result carries the last sequence of the present epoch as `version`. The same order again
    gives the same answer.
    """

    order: bytes
    sig: bytes


class RestoreBegin(Operation, frozen=True):
    """Begin to fill the cluster with the content of a backup, or ask how far that is.

    `id` (16 bytes) names the restore; `source_*` say of what; `content` and `rows` announce what
    will come. With `replace` the cluster need not be empty: what it holds is cleared away first.
    The result carries the state as `detail` and the number of the next part as `version`.
    """

    id: bytes
    source_cluster: str
    source_epoch: int
    source_sequence: int
    source_root: bytes
    source_at_ms: int
    content: bytes
    rows: int
    next_collection: int
    version_floor: int
    replace: bool = False


class RestoreRows(Operation, frozen=True):
    """The next part of a restore: rows of one kind after the other, by the hashes of their keys."""

    id: bytes
    number: int
    rows: tuple[tuple[bytes, bytes], ...]


class RestoreEnd(Operation, frozen=True):
    """Let the cluster have what was loaded, if it is what was announced."""

    id: bytes


class RestoreDiscard(Operation, frozen=True):
    """Give up a restore: the cluster is empty again."""

    id: bytes


class By(Operation, frozen=True):
    """An operation with the id of the API key that asked for it.

    Only what is audited travels so: the others need not carry a name that nobody writes down.
    """

    actor: str
    op: msgspec.Raw


type Op = (
    OpenSession
    | Create
    | Put
    | Patch
    | Update
    | Delete
    | Resolve
    | Get
    | Transact
    | Barrier
    | Seal
    | CollectionPut
    | CollectionDrop
    | IndexPut
    | IndexDrop
    | Maintain
    | Warm
    | ClusterErase
    | KeyPut
    | KeyRevoke
    | QuotaPut
    | ReportCalls
    | Reconfigure
    | RestoreBegin
    | RestoreRows
    | RestoreEnd
    | RestoreDiscard
    | AuditPut
    | ReportAudit
    | CompliancePut
    | EraseBegin
    | EraseStep
    | EraseEnd
    | TierOp
)

READ_ONLY: Final = (Get, Barrier, Seal)
WHILE_RESTORING: Final = (
    OpenSession,
    Barrier,
    Seal,
    Maintain,
    KeyPut,
    KeyRevoke,
    QuotaPut,
    ReportCalls,
    Reconfigure,
    AuditPut,
    ReportAudit,
    CompliancePut,
    RestoreBegin,
    RestoreRows,
    RestoreEnd,
    RestoreDiscard,
)
"""All that is done while a restore is under way."""


class OpResult(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """The outcome of one operation, equal on every replica.

    `status` follows HTTP; `code` is set when `status >= 400` (see `errors.Code`). `document` is
    MessagePack of the document's own fields, without `_` names: set by Get, Patch and Update; of a
    transaction it is its packed `transactions.Outcome`.
    A 412 carries the current `version` when the document exists.
    """

    status: int
    code: str | None = None
    id: str | None = None
    version: int | None = None
    created_us: int | None = None
    updated_us: int | None = None
    document: bytes | None = None
    detail: str | None = None
    errors: tuple[tuple[str, str], ...] = ()
    """(JSON Pointer, detail) pairs of a 422."""
    policy: str | None = None
    """The conflict policy that decided, when the condition of a write did not hold."""
    met: int | None = None
    """The version it overwrote or merged with, 0 when the document was gone."""
    fields: bytes | None = None
    """The fields that a merge could not settle (see `merging.pack_fields`)."""
    conflict: str | None = None
    """The id in `_conflicts` under which the refused write is kept."""


class Attributed(NamedTuple):
    """A decoded operation and the id of the key that asked for it."""

    actor: str
    operation: Op


class MalformedOperationError(Exception):
    """Bytes that are not the canonical encoding of one operation or result."""


_encoder = msgspec.msgpack.Encoder(order="deterministic")
_op_decoder: msgspec.msgpack.Decoder[Op | By] = msgspec.msgpack.Decoder(Op | By)
_result_decoder = msgspec.msgpack.Decoder(OpResult)


def encode_op(op: Op) -> bytes:
    """Encode one operation for a request's `ops`."""
    return _encoder.encode(op)


def decode_op(data: bytes) -> Op | Attributed:
    """Decode one operation, with who asked for it when it says so.

    Raises:
        MalformedOperationError: The bytes are too long or not an operation.
    """
    if len(data) > OP_BYTES_MAX:
        raise MalformedOperationError("operation too long")
    try:
        found = _op_decoder.decode(data)
        if not isinstance(found, By):
            return found
        inner = _op_decoder.decode(found.op)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise MalformedOperationError(str(error)) from error
    if isinstance(inner, By) or not 0 < len(found.actor) <= ACTOR_CHARS_MAX:
        raise MalformedOperationError("not an operation of a key")
    return Attributed(found.actor, inner)


def attribute(op: bytes, actor: str) -> bytes:
    """Return an encoded operation with the id of the key that asked for it."""
    return _encoder.encode(By(actor, msgspec.Raw(op)))


def name_of(op: bytes) -> bytes:
    """Return the name of an encoded operation without decoding it."""
    # An array of fewer than 16 members and a text of fewer than 32 bytes: one byte before each.
    return op[2 : 2 + (op[1] & 0x1F)]


def encode_result(result: OpResult) -> bytes:
    """Encode one result as replicas hash and cache it."""
    return _encoder.encode(result)


def decode_result(data: bytes) -> OpResult:
    """Decode one result.

    Raises:
        MalformedOperationError: The bytes are not a result.
    """
    try:
        return _result_decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise MalformedOperationError(str(error)) from error


def session_id(client: bytes, nonce: bytes) -> bytes:
    """Return the id of the session that `OpenSession(nonce)` by `client` opens."""
    return blake3(client + nonce).digest(SESSION_ID_BYTES)
