"""What is read of cold segments is what was sealed, and no honest holder is called a liar."""

from typing import TYPE_CHECKING, override

from blake3 import blake3

from dataplane.documents.state import StateMachine
from dataplane.documents.stubs import directory_of
from dataplane.simulation.checkers.checker import Checker, ColdRead
from dataplane.simulation.options import Options
from dataplane.wire.stubs import stub_of

if TYPE_CHECKING:
    from dataplane.simulation.node import Node

COLLECTION = "aging"


class ColdSegments(Checker):
    """Compares with the stubs, which are under the root, and with what others read."""

    name = "cold_segments"

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._read: dict[int, bytes] = {}

    @override
    def on_cold_read(self, node: "Node", read: ColdRead) -> None:
        number = read.record.number
        if self._read.setdefault(number, read.segment) != read.segment:
            self.fail(f"node {node.id} read another segment {number} than others did")
        executor = node.executor
        assert isinstance(executor, StateMachine)
        for entry in directory_of(read.segment):
            row = executor.view.row(COLLECTION, entry.id)
            stub = None if row is None else stub_of(row)
            if stub is None or stub.segment != number:
                continue
            body = read.segment[stub.offset : stub.offset + stub.length]
            if blake3(body).digest() != stub.digest:
                self.fail(f"node {node.id} read another {entry.id} than was sealed in {number}")

    @override
    def on_wrong_fragment(self, node: "Node", peer: int, reason: str) -> None:
        if peer not in self.options.liars:
            self.fail(f"node {node.id} calls node {peer} a liar, who is none: {reason}")
