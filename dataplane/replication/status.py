"""What a node tells about itself and its cluster."""

from typing import Literal

import msgspec


class MemberStatus(msgspec.Struct, frozen=True):
    """A member as this node sees it; `lag` is in sequences behind the newest known."""

    id: int
    address: str
    role: Literal["primary", "backup"]
    reachable: bool
    executed: int | None
    lag: int | None
    faults: int
    evidence: int
    """How many proofs that it lied this node holds."""


class PartitionStatus(msgspec.Struct, frozen=True):
    """Whether this node reaches a quorum, and how its outages went."""

    reached: int
    cut_off: bool
    unreachable: tuple[int, ...]
    staleness_ms: int
    quorum_lost: int
    rejoined: int
    last_outage_ms: int
    last_recovery_ms: int


class NodeStatus(msgspec.Struct, frozen=True):
    """The cluster as this node sees it; names as in the data-plane API.

    `amnesia`: its log was lost, it will never vote again. `diverged`: its state is wrong and being
    repaired. `copying`: the checkpoint whose state it is copying from its peers.
    """

    node_id: int
    epoch: int
    ends_at: int | None
    """The last sequence of the epoch, once a change of the members is ordered."""
    is_member: bool
    view: int
    sequence: int
    behind: int
    """Sequences behind the newest known."""
    stable: int
    primary: int
    f: int
    quorum: int
    ready: bool
    amnesia: bool
    diverged: bool
    copying: int | None
    evidence: int
    members: tuple[MemberStatus, ...]
    partition: PartitionStatus
