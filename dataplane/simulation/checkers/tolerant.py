"""Beyond the model promises break: what notices it is written down, and the run goes on."""

from collections.abc import Callable
from typing import TYPE_CHECKING, override

from dataplane.consensus.messages import AnyMessage, CheckpointCertificate, Request
from dataplane.consensus.outcome import Evidence
from dataplane.consensus.records import Record
from dataplane.documents.types import RequestResult
from dataplane.simulation.checkers.checker import Checker, ColdRead, Executed, Read
from dataplane.simulation.errors import ViolationError

if TYPE_CHECKING:
    from dataplane.simulation.node import Node
    from dataplane.simulation.world import World


class Tolerant(Checker):
    """Passes everything on to a checker until that one fails, and notes how."""

    def __init__(self, checker: Checker, noticed: list[str]) -> None:
        super().__init__(checker.options)
        self.name = checker.name
        self._checker = checker
        self._noticed = noticed
        self._has_failed = False

    def _try(self, call: Callable[[], None]) -> None:
        if self._has_failed:
            return
        try:
            call()
        except ViolationError as violation:
            self._has_failed = True
            self._noticed.append(str(violation))

    @override
    def on_start(self, node: "Node") -> None:
        self._try(lambda: self._checker.on_start(node))

    @override
    def on_epoch(self, node: "Node") -> None:
        self._try(lambda: self._checker.on_epoch(node))

    @override
    def on_invoked(self, node: "Node", request: Request) -> None:
        self._try(lambda: self._checker.on_invoked(node, request))

    @override
    def on_persist(self, node: "Node", record: Record) -> None:
        self._try(lambda: self._checker.on_persist(node, record))

    @override
    def on_durable(self, node: "Node", record: Record) -> None:
        self._try(lambda: self._checker.on_durable(node, record))

    @override
    def on_transmit(self, node: "Node", message: AnyMessage) -> None:
        self._try(lambda: self._checker.on_transmit(node, message))

    @override
    def on_execute(self, node: "Node", executed: Executed) -> None:
        self._try(lambda: self._checker.on_execute(node, executed))

    @override
    def on_installed(self, node: "Node", certificate: CheckpointCertificate) -> None:
        self._try(lambda: self._checker.on_installed(node, certificate))

    @override
    def on_stable(self, node: "Node", certificate: CheckpointCertificate) -> None:
        self._try(lambda: self._checker.on_stable(node, certificate))

    @override
    def on_evidence(self, node: "Node", evidence: Evidence) -> None:
        self._try(lambda: self._checker.on_evidence(node, evidence))

    @override
    def on_read(self, node: "Node", read: Read) -> None:
        self._try(lambda: self._checker.on_read(node, read))

    @override
    def on_cold_read(self, node: "Node", read: ColdRead) -> None:
        self._try(lambda: self._checker.on_cold_read(node, read))

    @override
    def on_wrong_fragment(self, node: "Node", peer: int, reason: str) -> None:
        self._try(lambda: self._checker.on_wrong_fragment(node, peer, reason))

    @override
    def on_alarm(self, node: "Node", code: str, detail: str) -> None:
        self._try(lambda: self._checker.on_alarm(node, code, detail))

    @override
    def on_peer_fault(self, node: "Node", culprit: "Node", detail: str) -> None:
        self._try(lambda: self._checker.on_peer_fault(node, culprit, detail))

    @override
    def on_acknowledged(self, node: "Node", result: RequestResult) -> None:
        self._try(lambda: self._checker.on_acknowledged(node, result))

    @override
    def after_turn(self, node: "Node") -> None:
        self._try(lambda: self._checker.after_turn(node))

    @override
    def at_end(self, world: "World") -> None:
        self._try(lambda: self._checker.at_end(world))
