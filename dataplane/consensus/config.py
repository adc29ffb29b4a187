"""Who takes part, and the limits of one replica."""

from dataclasses import dataclass, field
from typing import Protocol

from dataplane.wire.quorum import blocking_size, faults_tolerated, quorum_size

REPLICA_COUNT_MAX = 31


class Signer(Protocol):
    """Signs with this replica's key."""

    def sign(self, payload: bytes) -> bytes:
        """Return the signature of the payload."""
        ...


class Verifier(Protocol):
    """Checks signatures; one implementation and version in a whole cluster."""

    def verify(self, public_key: bytes, payload: bytes, signature: bytes) -> bool:
        """Return whether the signature is the key's for the payload."""
        ...


@dataclass(frozen=True, slots=True)
class MemberKeys:
    """A replica's public keys: for its votes, and for the requests its gateway signs."""

    replica_id: int
    public_key: bytes
    gateway_key: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of the protocol; equal on every replica. Letters are Castro & Liskov's."""

    checkpoint_interval: int = 128
    """K, batches between checkpoints."""
    window: int = 512
    """L: the high watermark is the stable checkpoint plus this."""
    pipeline: int = 32
    """ALPHA, batches ordered beyond the last executed one."""
    batch_ops_max: int = 512
    batch_bytes_max: int = 1024 * 1024
    batch_delay_ms: int = 2
    """With nothing in flight, requests wait at least so long for company that is likely."""
    batch_wait_ms: int = 20
    """While a batch is in flight, further requests wait for a full batch or so long."""
    batch_wait_max_ms: int = 50
    """They may wait for as long as an instance takes here, but no longer than this."""
    pending_requests_max: int = 10_000
    pending_bytes_max: int = 64 * 1024 * 1024
    pending_per_client_max: int = 256
    forward_bytes_max: int = 1024 * 1024
    """What a backup passes on again at once: more would crowd out what it waits for."""
    clock_skew_max_ms: int = 10_000
    retransmit_ms: int = 300
    status_ms: int = 1_000
    retained_batches_max: int = 1_024
    retained_bytes_max: int = 64 * 1024 * 1024
    fetch_batches_max: int = 32
    fetch_bytes_max: int = 4 * 1024 * 1024
    evidence_max: int = 1_000
    heartbeat_ms: int = 200
    heartbeat_timeout_ms: int = 900
    """A primary that is not heard for so long is suspected."""
    request_timeout_min_ms: int = 900
    request_timeout_max_ms: int = 10_000
    """Work that makes no progress for 8 commit latencies, within these bounds, is the primary's."""
    view_timeout_ms: int = 1_000
    """How long a replica waits for the first NewView; doubled with every view in vain."""
    timeout_max_ms: int = 30_000
    slow_primary_ms: int = 250
    """An idle primary that lets requests wait so long, again and again, is suspected."""
    copy_nodes_max: int = 64
    """Nodes of the state's tree in one message, and rows, and bytes."""
    copy_rows_max: int = 256
    copy_bytes_max: int = 1024 * 1024
    copy_timeout_ms: int = 2_000
    copy_serves_max: int = 200
    """Questions about the state that one peer gets answered in a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaConfig:
    """One replica's place in one epoch of a cluster.

    A replica that is not among the members is a learner: it follows, and votes for nothing.
    """

    cluster_id: bytes
    epoch: int
    replica_id: int
    members: tuple[MemberKeys, ...]
    base: int = 0
    """The sequence the epoch before ended at: agreed by its members, not voted on again."""
    limits: Limits = field(default_factory=Limits)
    # Worked out once: each is asked for several times a message.
    n: int = field(init=False)
    """The number of replicas."""
    quorum: int = field(init=False)
    """How many make a certificate."""
    is_learner: bool = field(init=False)
    """Whether this replica is no member of the epoch."""
    _public_keys: dict[int, bytes] = field(init=False, repr=False)
    _gateways: dict[bytes, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        ids = [member.replica_id for member in self.members]
        assert 1 <= len(ids) <= REPLICA_COUNT_MAX
        assert ids == sorted(set(ids)), "members are sorted by id and distinct"
        assert len(self.cluster_id) == 16
        members = reversed(self.members)  # Of two with one gateway key the first counts.
        derived = {
            "n": len(ids),
            "quorum": quorum_size(len(ids)),
            "is_learner": self.replica_id not in ids,
            "_public_keys": {member.replica_id: member.public_key for member in self.members},
            "_gateways": {member.gateway_key: member.replica_id for member in members},
        }
        for name, value in derived.items():
            object.__setattr__(self, name, value)

    @property
    def f(self) -> int:
        """How many of them may lie."""
        return faults_tolerated(self.n)

    @property
    def blocking(self) -> int:
        """How many may end a view: without them no quorum is left."""
        return blocking_size(self.n)

    def primary(self, view: int) -> int:
        """Return the id of the view's primary: OSDI'99 section 4, p = v mod |R|."""
        return self.members[view % self.n].replica_id

    def public_key(self, replica_id: int) -> bytes | None:
        """Return a member's vote key, or None for a stranger."""
        return self._public_keys.get(replica_id)

    def gateway_of(self, client: bytes) -> int | None:
        """Return the replica whose gateway signs with this client key, if there is one."""
        return self._gateways.get(client)
