"""What goes into the state machine and what comes out, as its callers see it."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Literal, Protocol, override

import msgspec

from dataplane.consensus.config import Limits
from dataplane.consensus.messages import (
    CheckpointGone,
    FetchNodes,
    FetchRows,
    TreeNodes,
    TreeRows,
)
from dataplane.consensus.outcome import CopyStage, Wanted
from dataplane.wire.membership import Member

type RequestStatus = Literal["ok", "session_expired", "already_applied", "cseq_reused", "window"]


class RequestView(Protocol):
    """The part of an ordered request that execution reads; `consensus.messages.Request` fits."""

    @property
    def client(self) -> bytes:
        """The public key that signed the request."""
        ...

    @property
    def session(self) -> bytes:
        """The session the request belongs to."""
        ...

    @property
    def cseq(self) -> int:
        """The number of the request inside its session, from 1."""
        ...

    @property
    def ack(self) -> int:
        """The client has the answers of every request up to and including this number."""
        ...

    @property
    def ops(self) -> tuple[bytes, ...]:
        """The encoded operations, executed in order."""
        ...


class RequestResult(msgspec.Struct, frozen=True, gc=False):
    """The outcome of one request of a batch, in the order of the batch.

    `results` has one encoded `OpResult` per operation when `status` is "ok" and is empty otherwise.
    A repeated request gets its first results and digest again; when those were too long to keep
    (over 64 KiB) `results` is empty and `digest` alone is repeated. `sequence` is where the request
    took effect, which for a repeat is before the batch at hand. `digest` covers status and results.
    """

    client: bytes
    session: bytes
    cseq: int
    sequence: int
    status: RequestStatus
    results: tuple[bytes, ...]
    digest: bytes


@dataclass(frozen=True, slots=True)
class BatchResult:
    """Everything execution of one batch answers."""

    sequence: int
    requests: tuple[RequestResult, ...]


@dataclass(frozen=True, slots=True)
class Configuration:
    """Who orders: the members of an epoch that began behind `base`.

    `ends_at` is its last sequence, once the state knows that `next_members` follow.
    """

    epoch: int
    base: int
    members: tuple[Member, ...]
    ends_at: int | None = None
    next_members: tuple[Member, ...] = ()
    before: "Configuration | None" = None
    """The epoch before, where the state tells of it."""


class Classes(Protocol):
    """Who keeps keys for classes of documents, named by what the keys of their rows begin with."""

    def open(self, prefixes: AbstractSet[bytes]) -> None:
        """Have a key for each, on disk, before rows are written under it."""
        ...

    def settle(self, prefixes: AbstractSet[bytes]) -> None:
        """Destroy the key of every class but these; what was under it is gone from the state."""
        ...


class NoClasses(Classes):
    """Keeps no keys: rows are as plain as the store is."""

    @override
    def open(self, prefixes: AbstractSet[bytes]) -> None:
        """Do nothing."""

    @override
    def settle(self, prefixes: AbstractSet[bytes]) -> None:
        """Do nothing."""


class StateCopies(Protocol):
    """The state as something that peers copy from and that is copied into."""

    def mark(self, sequence: int, root: bytes) -> None:
        """Keep the present state, which is that of a checkpoint, for peers that ask for it."""
        ...

    def retain(self, sequence: int) -> None:
        """Learn that a checkpoint is stable: it and the one before it are what peers want."""
        ...

    def serve(
        self, question: FetchNodes | FetchRows, limits: Limits, now_ms: int, *, may_rewind: bool
    ) -> TreeNodes | TreeRows | CheckpointGone:
        """Answer a peer's question about the state at a checkpoint.

        With `may_rewind` a state of which there is no snapshot is worked out from the journal.
        """
        ...

    def root_at(self, sequence: int) -> bytes | None:
        """Return the root of the state as it was after `sequence`, None when it cannot be told."""
        ...

    def begin(self, sequence: int, root: bytes, *, is_fresh: bool) -> Wanted:
        """Begin a copy; say what is missing. No batch executes until it is installed.

        `is_fresh` drops what earlier copies gathered.
        """
        ...

    def stage(self, parts: CopyStage) -> Wanted:
        """Keep parts beside the state; say what they show to be missing."""
        ...

    def install(self, sequence: int, root: bytes) -> bool:
        """Put the copy in the state's place, durably, so that a crash leaves the one or the other.

        False: the copy is not the state of `root`; nothing has changed.
        """
        ...

    def scrub(self, node_count: int) -> list[bytes]:
        """Check a little of what is stored; return the keys of rows that are damaged."""
        ...

    @property
    def scrub_rounds(self) -> int:
        """How many times everything was checked since the start."""
        ...


class Executor(Protocol):
    """What the driver needs of a state machine; `state.StateMachine` is the one of production."""

    @property
    def applied(self) -> int:
        """The last sequence whose effect is in the store; 0 after genesis."""
        ...

    def apply(
        self, sequence: int, batch_ts_ms: int, requests: Sequence[RequestView]
    ) -> BatchResult:
        """Execute one batch and write its effect and `applied` in one store write.

        `sequence` must be `applied + 1`; anything else is an assertion failure. An exception of any
        kind means that this replica must halt: user errors are results.
        """
        ...

    def recorded(self, request: RequestView) -> RequestResult | None:
        """Return what an earlier request came to, if the session table still holds it.

        Of an opening it tells that the session is open, at `applied` as far as this knows.
        """
        ...

    def root(self) -> bytes:
        """Return the 32-byte digest of all replicated state as of `applied`."""
        ...

    @property
    def configuration(self) -> Configuration:
        """Who orders what follows `applied`."""
        ...

    @property
    def copies(self) -> StateCopies:
        """The same state, to be copied."""
        ...


class GenesisKey(msgspec.Struct, frozen=True):
    """An API key that exists before the first batch."""

    id: str
    hash: bytes
    name: str
    scopes: tuple[str, ...]
    collections: tuple[str, ...] = ("*",)
    expires_ms: int | None = None
    requests_per_s: int | None = None
    kind: str = "key"


class Genesis(msgspec.Struct, frozen=True):
    """The state before sequence 1; must be equal on every replica."""

    keys: tuple[GenesisKey, ...] = ()
    calls_limit: int | None = None
    storage_limit_bytes: int | None = None
    usage_window_ms: int = 3_600_000
    cluster_id: bytes = b""
    members: tuple[Member, ...] = ()
    admin_key: bytes = b""
    """The control plane's public key: only its orders change the members. Empty: nobody's do."""
    requests_per_s: int | None = None


class DocumentRecord(msgspec.Struct, frozen=True, gc=False):
    """A stored document as the view returns it; `body` is MessagePack of its own fields."""

    id: str
    version: int
    created_us: int
    updated_us: int
    body: bytes


class CollectionRecord(msgspec.Struct, frozen=True):
    """A collection as the view returns it; `options` is MessagePack of an object."""

    name: str
    documents: int
    created_us: int
    updated_us: int
    options: bytes
    bytes: int
    distributed: tuple[int, int] = (0, 0)
    """How many of the documents are with all members together, and how many bytes they are."""
    archived: tuple[int, int] = (0, 0)
    """And in the archive."""
    memory: tuple[int, int] = (0, 0)
    """How many this node keeps in memory besides, and how many bytes that takes."""


class IndexRecord(msgspec.Struct, frozen=True):
    """An index as the view returns it; `body` is the definition as JSON has it."""

    id: int
    name: str
    fields: tuple[tuple[str, int], ...]
    unique: bool
    sparse: bool
    partial: bytes | None
    body: dict[str, Any]
    state: str
    """"building", "ready" or "failed"."""
    built: int
    """Documents looked at by the build, out of `documents`."""
    documents: int
    entries: int
    bytes: int
    multikey: int
    """The fields, as bits, in which some document had several values."""
    failure: tuple[str, ...]
    """Why it failed, and the ids of the documents that stood in the way."""
    created_us: int


class TombstoneRecord(msgspec.Struct, frozen=True):
    """What was erased by destroying its key; see `tables.TombstoneRow`."""

    number: int
    kind: str
    name: str
    documents: int
    bytes: int
    ordered_at: int
    erased_at: int
    at_ms: int


class KeyRecord(msgspec.Struct, frozen=True):
    """An API key as replicated; a revoked key has no record."""

    id: str
    hash: bytes
    name: str
    scopes: tuple[str, ...]
    collections: tuple[str, ...]
    expires_ms: int | None
    created_us: int
    requests_per_s: int | None = None
    kind: str = "key"
    """What it is: "key", "issuer" or "revocation" (see `commands.KeyPut`)."""


class QuotaRecord(msgspec.Struct, frozen=True):
    """The limits in force and what is used of them."""

    calls_limit: int | None
    calls_used: int
    calls_resets_ms: int
    storage_limit_bytes: int | None
    storage_used_bytes: int
    requests_per_s: int | None = None
    """How many requests of one key a node takes in a second."""


class UsageWindow(msgspec.Struct, frozen=True, order=True):
    """Calls of one class that one node reported inside one window of batch time."""

    window_start_ms: int
    node: int
    call_class: str
    count: int


class StorageWindow(msgspec.Struct, frozen=True, order=True):
    """Logical bytes stored at the end of one window of batch time."""

    window_start_ms: int
    bytes: int


class RestoreRecord(msgspec.Struct, frozen=True):
    """How far the last restore is: of which state, what of it came, and where it ended."""

    id: bytes
    state: str
    source_cluster: str
    source_epoch: int
    source_sequence: int
    source_root: bytes
    source_at_ms: int
    content: bytes
    rows: int
    rows_expected: int
    next: int
    sequence: int
    at_ms: int
    ends_ms: int | None = None
    """When it is given up unless somebody goes on with it."""


class StateStats(msgspec.Struct, frozen=True):
    """Totals of the replicated state."""

    applied: int
    now_ms: int
    documents: int
    bytes: int
    collections: int
    sessions: int
