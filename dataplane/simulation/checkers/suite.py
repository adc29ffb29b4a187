"""All checkers of a run, and which events they are told of."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from dataplane.consensus.messages import AnyMessage, CheckpointCertificate, Request
from dataplane.consensus.outcome import Alarm, Evidence, PeerFault
from dataplane.consensus.records import decode_record
from dataplane.documents.types import RequestResult
from dataplane.simulation.checkers.checker import Checker, ColdRead, Executed, Read
from dataplane.simulation.checkers.clients import Acknowledged, Linearizable
from dataplane.simulation.checkers.cold import ColdSegments
from dataplane.simulation.checkers.execution import (
    Agreement,
    ExactlyOnce,
    ExecutionOrder,
    PreparedOnce,
    Roots,
)
from dataplane.simulation.checkers.liveness import Liveness
from dataplane.simulation.checkers.members import OneMembership
from dataplane.simulation.checkers.persistence import Durability, PersistedFirst
from dataplane.simulation.checkers.protocol import (
    Bounds,
    Certificates,
    NoHonestAccused,
    Watermarks,
)
from dataplane.simulation.checkers.tolerant import Tolerant
from dataplane.simulation.checkers.views import DecidedIsCarried, NewViews
from dataplane.simulation.checkers.voting import DamagedLog, Monotonic, OneVote, VotesInView
from dataplane.simulation.options import Options
from dataplane.simulation.trace import describe

if TYPE_CHECKING:
    from dataplane.simulation.node import Node
    from dataplane.simulation.world import World

CHECKERS: tuple[type[Checker], ...] = (
    Agreement,
    PreparedOnce,
    ExecutionOrder,
    Monotonic,
    OneVote,
    VotesInView,
    Watermarks,
    OneMembership,
    ExactlyOnce,
    Acknowledged,
    Durability,
    Roots,
    PersistedFirst,
    Bounds,
    NoHonestAccused,
    NewViews,
    DecidedIsCarried,
    Linearizable,
    Liveness,
    Certificates,
    DamagedLog,
    ColdSegments,
)


class CheckerSuite:
    """Passes the events of honest nodes to every checker that wants them."""

    def __init__(self, options: Options, *observers: Checker) -> None:
        self.noticed: list[str] = []
        """Beyond the model: what the checkers that may fail there found."""
        self._liveness = Liveness(options)
        checkers: list[Checker] = []
        for make in CHECKERS:
            checker = self._liveness if make is Liveness else make(options)
            if options.is_beyond_model and not checker.holds_beyond_model:
                checker = Tolerant(checker, self.noticed)
            checkers.append(checker)
        self._checkers = (*checkers, *observers)
        self._on_persist = self._wanting("on_persist")
        self._on_durable = self._wanting("on_durable")
        self._on_transmit = self._wanting("on_transmit")
        self._on_execute = self._wanting("on_execute")
        self._after_turn = self._wanting("after_turn")

    def _wanting(self, event: str) -> tuple[Checker, ...]:
        ignored = getattr(Checker, event)
        return tuple(
            checker for checker in self._checkers if getattr(type(checker), event) is not ignored
        )

    def is_quiet(self, world: "World") -> bool:
        """Whether a healed world has nothing left to do."""
        return self._liveness.is_quiet(world)

    def on_start(self, node: "Node") -> None:
        """Tell that a node started."""
        if not node.is_liar:
            for checker in self._checkers:
                checker.on_start(node)

    def on_epoch(self, node: "Node") -> None:
        """Tell that a node went on into its next epoch."""
        if node.is_liar:
            return
        node.world.count("epoch_began")
        members = ",".join(str(member.replica_id) for member in node.config.members)
        node.world.say(f"epoch {node.config.epoch} at {node.id}: {members}")
        for checker in self._checkers:
            checker.on_epoch(node)

    def on_invoked(self, node: "Node", request: Request) -> None:
        """Tell what a client asks."""
        if not node.is_liar:
            for checker in self._checkers:
                checker.on_invoked(node, request)

    def on_persist(self, node: "Node", records: Iterable[bytes]) -> None:
        """Tell what a core wants written."""
        if not node.is_liar:
            for data in records:
                record = decode_record(data)
                for checker in self._on_persist:
                    checker.on_persist(node, record)

    def on_durable(self, node: "Node", records: Iterable[bytes]) -> None:
        """Tell what reached a disk."""
        if not node.is_liar:
            for data in records:
                record = decode_record(data)
                for checker in self._on_durable:
                    checker.on_durable(node, record)

    def on_transmit(self, node: "Node", message: AnyMessage) -> None:
        """Tell what left a node."""
        if not node.is_liar:
            for checker in self._on_transmit:
                checker.on_transmit(node, message)

    def on_execute(self, node: "Node", executed: Executed) -> None:
        """Tell what took effect."""
        if node.is_liar:
            return
        node.world.count("executed")
        node.world.say(f"execute {node.id} s{executed.sequence} x{len(executed.batch.requests)}")
        for checker in self._on_execute:
            checker.on_execute(node, executed)

    def on_installed(self, node: "Node", certificate: CheckpointCertificate) -> None:
        """Tell that a node replaced its state."""
        if node.is_liar:
            return
        node.world.count("state_copied")
        node.world.say(f"install {node.id} s{certificate.sequence}")
        for checker in self._checkers:
            checker.on_installed(node, certificate)

    def on_stable(self, node: "Node", certificate: CheckpointCertificate) -> None:
        """Tell of a stable checkpoint."""
        if node.is_liar:
            return
        node.world.count("stable")
        node.world.say(f"stable {node.id} {describe(certificate)}")
        for checker in self._checkers:
            checker.on_stable(node, certificate)

    def on_evidence(self, node: "Node", evidence: Evidence) -> None:
        """Tell who was accused."""
        if node.is_liar:
            return
        node.world.count("evidence")
        node.world.say(f"evidence {node.id} accuses {evidence.replica}")
        for checker in self._checkers:
            checker.on_evidence(node, evidence)

    def on_alarm(self, node: "Node", alarm: Alarm) -> None:
        """Tell what a core told the operator."""
        if node.is_liar:
            return
        node.world.count(f"alarm.{alarm.code}")
        node.world.say(f"alarm {node.id} {alarm.code}")
        for checker in self._checkers:
            checker.on_alarm(node, alarm.code, alarm.detail)

    def on_peer_fault(self, node: "Node", culprit: "Node", fault: PeerFault) -> None:
        """Tell whom a core caught serving falsehoods."""
        if node.is_liar:
            return
        node.world.count("peer_fault")
        node.world.say(f"fault {node.id} of {culprit.id}: {fault.detail}")
        for checker in self._checkers:
            checker.on_peer_fault(node, culprit, fault.detail)

    def on_acknowledged(self, node: "Node", result: RequestResult) -> None:
        """Tell what a client was told."""
        if node.is_liar:
            return
        node.world.count("acknowledged")
        node.world.say(f"answered {node.id} c{result.cseq} s{result.sequence}")
        for checker in self._checkers:
            checker.on_acknowledged(node, result)

    def on_read(self, node: "Node", read: Read) -> None:
        """Tell what a client was told by a read."""
        if node.is_liar:
            return
        node.world.say(f"read {node.id} {read.place[1]} s{read.told.index}-{read.told.sequence}")
        for checker in self._checkers:
            checker.on_read(node, read)

    def on_cold_read(self, node: "Node", read: ColdRead) -> None:
        """Tell what a node read of a cold segment."""
        if node.is_liar:
            return
        node.world.say(f"cold {node.id} s{read.record.number}")
        for checker in self._checkers:
            checker.on_cold_read(node, read)

    def on_wrong_fragment(self, node: "Node", peer: int, reason: str) -> None:
        """Tell who gave a node a wrong fragment."""
        if node.is_liar:
            return
        node.world.say(f"wrong fragment {node.id} from {peer}")
        for checker in self._checkers:
            checker.on_wrong_fragment(node, peer, reason)

    def after_turn(self, node: "Node") -> None:
        """Tell that a node is at rest."""
        if not node.is_liar:
            for checker in self._after_turn:
                checker.after_turn(node)

    def at_end(self, world: "World") -> None:
        """Tell that the run is over."""
        for checker in self._checkers:
            checker.at_end(world)
