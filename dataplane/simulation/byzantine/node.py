"""A real node that lies: `python -m dataplane.simulation.byzantine.node`.

`--spec FILE --behaviour NAME`, in a cluster whose profile allows it.

Behind the lies runs the node as it is, with its own key, disk and gateway; what it sends to its
peers goes through a behaviour of the simulation. It is for showing what a cluster does about a
liar, and exists apart from `python -m dataplane.node`, which cannot be made to lie by any option.
"""

import argparse
import random
import sys
from pathlib import Path
from typing import Final, override

from dataplane.client.errors import SpecError
from dataplane.client.spec import NodeSpec, load_spec
from dataplane.consensus.messages import decode_message, encode_message
from dataplane.node.__main__ import EXIT_USAGE, run
from dataplane.node.app import Node
from dataplane.replication.metrics import ReplicationMetrics
from dataplane.replication.peer_messages import MARK
from dataplane.replication.transport import OnFrames, PeerTransport
from dataplane.security.signing import load_signer
from dataplane.simulation.byzantine.behaviour import Behaviour, Conspiracy
from dataplane.simulation.byzantine.catalogue import BEHAVIOUR_NAMES, behaviour_of

EXIT_REFUSED: Final = 5
PROFILES: Final = frozenset({"development"})


class LyingTransport(PeerTransport):
    """Says to each peer what the behaviour makes of what the core wanted to say.

    What the gateways say to each other for reads goes through as it is.
    """

    def __init__(
        self,
        spec: NodeSpec,
        incarnation: int,
        metrics: ReplicationMetrics,
        on_frames: OnFrames,
        *,
        behaviour: Behaviour,
    ) -> None:
        super().__init__(spec, incarnation, metrics, on_frames)
        self._behaviour = behaviour

    @override
    def send(self, node_id: int, payload: bytes, *, later: bool = False) -> None:
        if payload.startswith(MARK):
            super().send(node_id, payload, later=later)
            return
        for said in self._behaviour.outgoing(node_id, decode_message(payload)):
            super().send(node_id, encode_message(said), later=later)

    @override
    def broadcast(self, payload: bytes) -> None:
        for node_id in tuple(self._peers):
            self.send(node_id, payload)


def lying_node(spec: NodeSpec, name: str) -> Node:
    """Return a node that lies; it conspires with nobody."""
    conspiracy = Conspiracy(
        bytes.fromhex(spec.cluster_id),
        random.Random(spec.node_id),
        frozenset({spec.node_id}),
        len(spec.members),
    )
    behaviour = behaviour_of(name, load_signer(Path(spec.signing_key_file)), conspiracy)

    def make(
        spec: NodeSpec, incarnation: int, metrics: ReplicationMetrics, on_frames: OnFrames
    ) -> PeerTransport:
        return LyingTransport(spec, incarnation, metrics, on_frames, behaviour=behaviour)

    return Node(spec, make_transport=make)


def main() -> int:
    """Parse the command line and run the liar, unless its cluster is one that is used."""
    parser = argparse.ArgumentParser(
        prog="python -m dataplane.simulation.byzantine.node", description=__doc__
    )
    parser.add_argument("--spec", required=True, type=Path, help="the node's specification file")
    parser.add_argument("--behaviour", required=True, choices=BEHAVIOUR_NAMES, help="how it lies")
    arguments = parser.parse_args()
    try:
        spec = load_spec(arguments.spec)
    except SpecError as error:
        sys.stderr.write(f"the specification cannot be used: {error}\n")
        return EXIT_USAGE
    if spec.profile not in PROFILES:
        sys.stderr.write(
            f"a node of the profile {spec.profile} is never made to lie; "
            f"profiles that allow it: {', '.join(sorted(PROFILES))}\n"
        )
        return EXIT_REFUSED
    return run(arguments.spec, lambda spec: lying_node(spec, arguments.behaviour))


if __name__ == "__main__":
    sys.exit(main())
