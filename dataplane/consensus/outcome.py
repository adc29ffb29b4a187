"""What the core asks of its driver, in order.

`after` is a barrier: the message may leave the process only when everything up to that barrier is
on disk (persist before send). 0 means at once.
"""

from dataclasses import dataclass

from dataplane.consensus.messages import (
    AnyMessage,
    Batch,
    CheckpointCertificate,
    EquivocationProof,
)


@dataclass(frozen=True, slots=True)
class Send:
    """Send a message to one replica."""

    to: int
    message: AnyMessage
    after: int = 0


@dataclass(frozen=True, slots=True)
class Broadcast:
    """Send a message to every other replica."""

    message: AnyMessage
    after: int = 0


@dataclass(frozen=True, slots=True)
class Persist:
    """Append records to the log; answer `on_persisted(barrier)` once they are on disk."""

    records: tuple[bytes, ...]
    barrier: int
    sequence: int
    """The highest sequence the records are about: the log may drop them when it is stable."""
    is_urgent: bool = True
    """Something waits for it; a record nothing waits for goes to disk with the next that is."""


@dataclass(frozen=True, slots=True)
class Execute:
    """Apply a batch; answer `on_executed`, with the state's root when `wants_root`."""

    sequence: int
    batch: Batch
    wants_root: bool


@dataclass(frozen=True, slots=True)
class Stable:
    """A checkpoint became stable."""

    certificate: CheckpointCertificate


@dataclass(frozen=True, slots=True)
class EpochEnded:
    """The last batch of the epoch is executed and every decision on disk: go on in the next."""

    sequence: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """One replica signed two conflicting messages: transferable proof that it lied."""

    proof: EquivocationProof
    told_by: int | None = None
    """The peer that sent the proof; None when this replica met both messages itself."""

    @property
    def replica(self) -> int:
        """Who lied."""
        return self.proof.replica


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something an operator must know."""

    code: str
    detail: str


type Effect = Send | Broadcast | Persist | Execute | Stable | EpochEnded | Evidence | Alarm
