"""All checkers of a run, and which events they are told of."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from dataplane.consensus.messages import AnyMessage, CheckpointCertificate, Request
from dataplane.consensus.outcome import Evidence
from dataplane.consensus.records import Record
from dataplane.documents.types import RequestResult
from dataplane.simulation.checkers.checker import Checker, Executed
from dataplane.simulation.checkers.execution import Agreement, ExactlyOnce
from dataplane.simulation.checkers.liveness import Liveness
from dataplane.simulation.checkers.persistence import Durability, PersistedFirst
from dataplane.simulation.checkers.protocol import (
    Bounds,
    Certificates,
    NoHonestAccused,
    Watermarks,
)
from dataplane.simulation.options import Options
from dataplane.simulation.trace import describe

if TYPE_CHECKING:
    from dataplane.simulation.node import Node
    from dataplane.simulation.world import World

_records: msgspec.msgpack.Decoder[Record] = msgspec.msgpack.Decoder(Record)


class CheckerSuite:
    """Passes the events of honest nodes to every checker."""

    def __init__(self, options: Options, *observers: Checker) -> None:
        self._liveness = Liveness(options)
        self._checkers: tuple[Checker, ...] = (
            Agreement(options),
            ExactlyOnce(options),
            PersistedFirst(options),
            Certificates(options),
            Watermarks(options),
            Bounds(options),
            NoHonestAccused(options),
            Durability(options),
            self._liveness,
            *observers,
        )

    def is_quiet(self, world: "World") -> bool:
        """Whether a healed world has nothing left to do."""
        return self._liveness.is_quiet(world)

    def on_start(self, node: "Node") -> None:
        """Tell that a node started."""
        if not node.is_liar:
            for checker in self._checkers:
                checker.on_start(node)

    def on_invoked(self, node: "Node", request: Request) -> None:
        """Tell what a client asks."""
        if not node.is_liar:
            for checker in self._checkers:
                checker.on_invoked(node, request)

    def on_persist(self, node: "Node", records: Iterable[bytes]) -> None:
        """Tell what a core wants written."""
        if not node.is_liar:
            for data in records:
                record = _records.decode(data)
                for checker in self._checkers:
                    checker.on_persist(node, record)

    def on_durable(self, node: "Node", records: Iterable[bytes]) -> None:
        """Tell what reached a disk."""
        if not node.is_liar:
            for data in records:
                record = _records.decode(data)
                for checker in self._checkers:
                    checker.on_durable(node, record)

    def on_transmit(self, node: "Node", message: AnyMessage) -> None:
        """Tell what left a node."""
        if not node.is_liar:
            for checker in self._checkers:
                checker.on_transmit(node, message)

    def on_execute(self, node: "Node", executed: Executed) -> None:
        """Tell what took effect."""
        if node.is_liar:
            return
        node.world.count("executed")
        node.world.trace.line(
            node.world.elapsed_ms,
            f"execute {node.id} s{executed.sequence} x{len(executed.batch.requests)}",
        )
        for checker in self._checkers:
            checker.on_execute(node, executed)

    def on_stable(self, node: "Node", certificate: CheckpointCertificate) -> None:
        """Tell of a stable checkpoint."""
        if node.is_liar:
            return
        node.world.count("stable")
        node.world.trace.line(node.world.elapsed_ms, f"stable {node.id} {describe(certificate)}")
        for checker in self._checkers:
            checker.on_stable(node, certificate)

    def on_evidence(self, node: "Node", evidence: Evidence) -> None:
        """Tell who was accused."""
        if node.is_liar:
            return
        node.world.count("evidence")
        node.world.trace.line(
            node.world.elapsed_ms, f"evidence {node.id} accuses {evidence.replica}"
        )
        for checker in self._checkers:
            checker.on_evidence(node, evidence)

    def on_acknowledged(self, node: "Node", result: RequestResult) -> None:
        """Tell what a client was told."""
        if not node.is_liar:
            for checker in self._checkers:
                checker.on_acknowledged(node, result)

    def after_turn(self, node: "Node") -> None:
        """Tell that a node is at rest."""
        if not node.is_liar:
            for checker in self._checkers:
                checker.after_turn(node)

    def at_end(self, world: "World") -> None:
        """Tell that the run is over."""
        for checker in self._checkers:
            checker.at_end(world)
