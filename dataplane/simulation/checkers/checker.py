"""What a checker may watch. The world tells it; it never asks a replica."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from dataplane.consensus.messages import AnyMessage, Batch, CheckpointCertificate, Request
from dataplane.consensus.outcome import Evidence
from dataplane.consensus.records import Record
from dataplane.documents.cold import SegmentRecord
from dataplane.documents.types import RequestResult
from dataplane.replication.polls import Place
from dataplane.replication.strong_reads import Confirmed
from dataplane.simulation.errors import ViolationError
from dataplane.simulation.options import Options

if TYPE_CHECKING:
    from dataplane.simulation.node import Node
    from dataplane.simulation.world import World


@dataclass(frozen=True, slots=True)
class Executed:
    """A batch that took effect at one node, and what came of it."""

    sequence: int
    batch: Batch
    results: Sequence[RequestResult]
    root: bytes | None


@dataclass(frozen=True, slots=True)
class Read:
    """What a client was told of a document, and when it had asked."""

    asked_ms: int
    place: Place
    told: Confirmed


@dataclass(frozen=True, slots=True)
class ColdRead:
    """A segment that a node put together of what its holders gave it."""

    record: SegmentRecord
    segment: bytes


class Checker:
    """Base of all checkers: every event, ignored. Only honest nodes' events arrive."""

    name = "checker"
    invariant = ""
    """Which invariant of the protocol it checks; several may check one."""
    holds_beyond_model = False
    """Whether it must hold also when more than f replicas lie."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self._sizes = [len(members) for members in options.epochs]

    def quorum(self, epoch: int) -> int:
        """Return ceil((n+f+1)/2) of an epoch's members, written apart from the code under test."""
        n = self._sizes[epoch]
        return (n + (n - 1) // 3 + 2) // 2

    def fail(self, detail: str) -> NoReturn:
        """Report a broken promise."""
        raise ViolationError(self.name, detail)

    def on_start(self, node: "Node") -> None:
        """See a node start, the first time or after a crash."""

    def on_epoch(self, node: "Node") -> None:
        """See a node go on with the members of the next epoch."""

    def on_invoked(self, node: "Node", request: Request) -> None:
        """See a client ask something for the first time."""

    def on_persist(self, node: "Node", record: Record) -> None:
        """See a core ask for a record to be written."""

    def on_durable(self, node: "Node", record: Record) -> None:
        """See a record reach the disk."""

    def on_transmit(self, node: "Node", message: AnyMessage) -> None:
        """See a message leave."""

    def on_execute(self, node: "Node", executed: Executed) -> None:
        """See a batch take effect."""

    def on_installed(self, node: "Node", certificate: CheckpointCertificate) -> None:
        """See a node that replaced its state by that of a certified checkpoint."""

    def on_stable(self, node: "Node", certificate: CheckpointCertificate) -> None:
        """See a checkpoint become stable."""

    def on_evidence(self, node: "Node", evidence: Evidence) -> None:
        """See a replica accused."""

    def on_alarm(self, node: "Node", code: str, detail: str) -> None:
        """See a core tell the operator something."""

    def on_peer_fault(self, node: "Node", culprit: "Node", detail: str) -> None:
        """See a core say that a peer served what its own word proves false."""

    def on_acknowledged(self, node: "Node", result: RequestResult) -> None:
        """See a client get its answer."""

    def on_read(self, node: "Node", read: Read) -> None:
        """See a client get the answer to a read that was not ordered."""

    def on_cold_read(self, node: "Node", read: ColdRead) -> None:
        """See a node that read a cold segment."""

    def on_wrong_fragment(self, node: "Node", peer: int, reason: str) -> None:
        """See a node that was given a wrong fragment of a segment."""

    def after_turn(self, node: "Node") -> None:
        """See a node that carried out all effects of an event."""

    def at_end(self, world: "World") -> None:
        """See the end of the run."""
