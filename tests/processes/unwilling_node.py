"""A real node that signs no change of members, or an honest one of the same small limits.

`python -m tests.processes.unwilling_node --spec FILE [--unwilling]`. Whoever forgets batches and
loses patience as soon as here shows in seconds what takes a thousand batches otherwise.
"""

import argparse
import sys
from pathlib import Path
from typing import override

from dataplane.client.spec import NodeSpec
from dataplane.consensus.config import Limits
from dataplane.node.__main__ import run
from dataplane.node.app import Node, Parts
from dataplane.replication.metrics import ReplicationMetrics
from dataplane.replication.peer_messages import (
    MARK,
    EpochChain,
    EpochVote,
    EpochWord,
    decode_peer_message,
)
from dataplane.replication.transport import OnFrames, PeerTransport
from dataplane.simulation.byzantine.attacks import Attack, Deliver
from dataplane.simulation.byzantine.node import LyingTransport

SMALL = {
    "checkpoint_interval": 8,
    "window": 32,
    "retained_batches_max": 16,
    "status_ms": 200,
}


class Unwilling(Attack):
    """Says nothing of what follows an epoch, neither by its own signature nor by others'."""

    @override
    def outgoing(self, to: int, payload: bytes, deliver: Deliver) -> None:
        if payload.startswith(MARK):
            said = decode_peer_message(payload)
            if isinstance(said, EpochVote | EpochChain | EpochWord):
                return
        deliver(to, payload)


def unwilling_node(spec: NodeSpec) -> Node:
    def make(
        spec: NodeSpec, incarnation: int, metrics: ReplicationMetrics, on_frames: OnFrames
    ) -> PeerTransport:
        return LyingTransport(spec, incarnation, metrics, on_frames, attack=Unwilling())

    return Node(spec, Parts(make_transport=make))


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--spec", required=True, type=Path)
    parser.add_argument("--unwilling", action="store_true")
    arguments = parser.parse_args()
    # There is no option for it: all nodes of a cluster must have the same limits.
    defaults = Limits.__init__.__kwdefaults__
    assert defaults is not None
    assert set(SMALL) <= set(defaults)
    defaults.update(SMALL)
    return run(arguments.spec, unwilling_node if arguments.unwilling else Node)


if __name__ == "__main__":
    sys.exit(main())
