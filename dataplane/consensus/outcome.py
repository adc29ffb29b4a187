"""What the core asks of its driver, in order.

`after` is a barrier: the message may leave the process only when everything up to that barrier is
on disk (persist before send). 0 means at once.
"""

from collections.abc import Callable
from dataclasses import dataclass

from dataplane.consensus.messages import (
    AnyMessage,
    Batch,
    CheckpointCertificate,
    EquivocationProof,
    FetchNodes,
    FetchRows,
    Request,
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
    replica: int | None = None
    """Whose proposal it was that was refused; who is primary may have changed meanwhile."""


@dataclass(frozen=True, slots=True)
class PeerFault:
    """A peer served something that its own word, or a certificate, proves false."""

    replica: int
    detail: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a copy of a state still lacks: nodes (path, digest) and rows (key hash, entry hash).

    With `has_more` the list is cut short: staging nothing gives the next part.
    """

    sequence: int
    nodes: tuple[tuple[str, bytes], ...] = ()
    rows: tuple[tuple[bytes, bytes], ...] = ()
    has_more: bool = False


@dataclass(frozen=True, slots=True)
class CopyBegin:
    """Compare the own state with a certified one; answer `on_wanted`.

    `is_fresh`: drop what earlier copies left behind.
    """

    certificate: CheckpointCertificate
    is_fresh: bool


@dataclass(frozen=True, slots=True)
class CopyStage:
    """Keep verified parts of the state beside the own one; answer `on_wanted`."""

    sequence: int
    nodes: tuple[tuple[str, bytes], ...] = ()
    rows: tuple[tuple[bytes, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class CopyInstall:
    """Replace the own state by the complete copy, durably and at once; answer `on_installed`."""

    certificate: CheckpointCertificate


@dataclass(frozen=True, slots=True)
class Installed:
    """What came of a CopyInstall; if the copy was not what was certified, nothing changed."""

    is_whole: bool
    ends_at: int | None
    """Where the state says that the epoch ends."""
    is_answered: Callable[[Request], bool]
    """Whether the state holds the answer to a request."""


@dataclass(frozen=True, slots=True)
class CopyServe:
    """Answer a peer from the state at the checkpoint it names, if that is still there.

    `is_certified`: the own stable checkpoint has that root, so it may cost something to show it.
    """

    to: int
    question: FetchNodes | FetchRows
    is_certified: bool


type CopyEffect = CopyBegin | CopyStage | CopyInstall | CopyServe
type Effect = (
    Send
    | Broadcast
    | Persist
    | Execute
    | Stable
    | EpochEnded
    | Evidence
    | Alarm
    | PeerFault
    | CopyEffect
)
