"""Lies told to a replica that copies the state."""

from collections.abc import Iterable
from typing import override

import msgspec

from dataplane.consensus.messages import AnyMessage, CheckpointGone, TreeNodes, TreeRows
from dataplane.simulation.byzantine.behaviour import Behaviour, Conspiracy
from dataplane.simulation.signatures import FakeSigner


def _flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1]) if data else b"\1"


class BadParts(Behaviour):
    """Serves parts of which the last is false, and claims to have what it has not."""

    @override
    def outgoing(self, to: int, message: AnyMessage) -> Iterable[AnyMessage]:
        if isinstance(message, TreeNodes) and message.nodes:
            path, row = message.nodes[-1]
            nodes = (*message.nodes[:-1], (path, _flipped(row)))
            return (msgspec.structs.replace(message, nodes=nodes),)
        if isinstance(message, TreeRows) and message.rows:
            key, value = message.rows[-1]
            rows = (*message.rows[:-1], (key, _flipped(value)))
            return (msgspec.structs.replace(message, rows=rows),)
        if isinstance(message, CheckpointGone):
            return (TreeNodes(message.sequence, (("", b"N" + bytes(640)),)),)
        return (message,)


class StaleState(Behaviour):
    """Serves the first state it was ever asked for, whichever is asked for now."""

    def __init__(self, signer: FakeSigner, conspiracy: Conspiracy) -> None:
        super().__init__(signer, conspiracy)
        self._nodes: dict[str, bytes] = {}
        self._rows: dict[bytes, bytes] = {}

    @override
    def outgoing(self, to: int, message: AnyMessage) -> Iterable[AnyMessage]:
        if isinstance(message, TreeNodes):
            nodes = tuple((path, self._nodes.setdefault(path, row)) for path, row in message.nodes)
            return (msgspec.structs.replace(message, nodes=nodes),)
        if isinstance(message, TreeRows):
            rows = tuple((key, self._rows.setdefault(key, value)) for key, value in message.rows)
            return (msgspec.structs.replace(message, rows=rows),)
        return (message,)


class NeverFinishes(Behaviour):
    """Serves one part at a time, often none, and never a row of a value that is longer."""

    @override
    def outgoing(self, to: int, message: AnyMessage) -> Iterable[AnyMessage]:
        if isinstance(message, TreeNodes):
            kept = message.nodes[: self.conspiracy.rng.randint(0, 1)]
            return (msgspec.structs.replace(message, nodes=kept),)
        if isinstance(message, TreeRows):
            return ()
        return (message,)
