"""A real node that lies: `python -m dataplane.simulation.byzantine.node`.

`--spec FILE --behaviour NAME [--until-ms N]`, in a cluster whose profile allows it.

Behind the lies runs the node as it is, with its own key, disk and gateway; what it sends to its
peers goes through an attack, or its clock, its disk or what it shows of its state is wrong. It is
for showing what a cluster does about it, and exists apart from `python -m dataplane.node`, which
cannot be made to lie by any option.

At `--until-ms` (milliseconds since 1970) it ends, and started again after that it is a node like
any other: whoever was to end it may be gone by then.
"""

import argparse
import asyncio
import logging
import random
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Final, override

from dataplane.client.errors import SpecError
from dataplane.client.spec import NodeSpec, load_spec
from dataplane.node.__main__ import EXIT_USAGE, run
from dataplane.node.app import Node, Parts
from dataplane.ports import SystemClock
from dataplane.replication.metrics import ReplicationMetrics
from dataplane.replication.transport import OnFrames, PeerTransport
from dataplane.security.signing import load_signer
from dataplane.simulation.byzantine.archives import ForgedArchive
from dataplane.simulation.byzantine.attacks import (
    Attack,
    Equivocator,
    ForgedFragments,
    ForgedReplies,
    Late,
    Lossy,
    OldView,
    Said,
    WrongClock,
    corrupt,
)
from dataplane.simulation.byzantine.backups import ForgedBackups
from dataplane.simulation.byzantine.behaviour import Behaviour, Conspiracy
from dataplane.simulation.byzantine.catalogue import BEHAVIOUR_NAMES, behaviour_of
from dataplane.simulation.byzantine.delivery import Forger

log = logging.getLogger(__name__)

EXIT_REFUSED: Final = 5
PROFILES: Final = frozenset({"development"})
REAL_NAMES: Final = (
    "delay",
    "drop",
    "equivocate",
    "forge_replies",
    "corrupt_document",
    "stale_reads",
    "forged_backups",
    "forged_fragments",
    "forged_archive",
    "clock_skew",
)
"""What only a process can do; all others are behaviours of the simulation."""


class LyingTransport(PeerTransport):
    """Says to each peer what an attack makes of what the node wanted to say."""

    def __init__(
        self,
        spec: NodeSpec,
        incarnation: int,
        metrics: ReplicationMetrics,
        on_frames: OnFrames,
        *,
        attack: Attack,
    ) -> None:
        super().__init__(spec, incarnation, metrics, self._hear)
        self._on_frames = on_frames
        self._attack = attack

    def _hear(self, sender: int, frames: list[bytes]) -> None:
        self._attack.incoming(sender, frames, super().send)
        self._on_frames(sender, frames)

    @override
    def send(self, node_id: int, payload: bytes, *, later: bool = False) -> None:
        def deliver(to: int, said: bytes) -> None:
            super(LyingTransport, self).send(to, said, later=later)

        self._attack.outgoing(node_id, payload, deliver)

    @override
    def broadcast(self, payload: bytes) -> None:
        for node_id in tuple(self._peers):
            self.send(node_id, payload)


class LyingNode(Node):
    """A node that ends when its time to lie is over."""

    def __init__(self, spec: NodeSpec, parts: Parts, until_ms: int | None) -> None:
        super().__init__(spec, parts)
        self._until_ms = until_ms

    @override
    async def run(self) -> int:
        if self._until_ms is not None:
            left_s = max(0, self._until_ms - SystemClock().now_ms()) / 1000
            asyncio.get_running_loop().call_later(left_s, self._ended.set)
        return await super().run()


def _behaviour(spec: NodeSpec, make: Callable[..., Behaviour]) -> Behaviour:
    """Return a liar that conspires with nobody but who does the same."""
    rng, members = random.Random(spec.node_id), len(spec.members)
    conspiracy = Conspiracy(bytes.fromhex(spec.cluster_id), rng, frozenset({spec.node_id}), members)
    return make(load_signer(Path(spec.signing_key_file)), conspiracy)


def _attack(spec: NodeSpec, name: str) -> Attack:
    rng = random.Random(spec.node_id)
    match name:
        case "delay" | "drop":
            return Late(rng) if name == "delay" else Lossy(rng)
        case "forged_fragments":
            return ForgedFragments()
        case "equivocate":
            return Said(_behaviour(spec, Equivocator))
        case "forge_replies":
            return ForgedReplies(_behaviour(spec, Forger), rng)
        case (
            "corrupt_document" | "stale_reads" | "forged_backups" | "forged_archive" | "clock_skew"
        ):
            return Attack()
        case _:
            return Said(_behaviour(spec, lambda *who: behaviour_of(name, *who)))


def lying_parts(spec: NodeSpec, name: str) -> Parts:
    """Return what a node that goes wrong in this way is put together from."""
    attack = _attack(spec, name)

    def make(
        spec: NodeSpec, incarnation: int, metrics: ReplicationMetrics, on_frames: OnFrames
    ) -> PeerTransport:
        return LyingTransport(spec, incarnation, metrics, on_frames, attack=attack)

    parts = Parts(make_transport=make)
    if name == "stale_reads":
        return replace(parts, show=OldView)
    if name == "forged_backups":
        return replace(parts, show=ForgedBackups)
    if name == "forged_archive":
        return replace(parts, make_archive=ForgedArchive)
    return replace(parts, make_clock=WrongClock) if name == "clock_skew" else parts


def lying_node(spec: NodeSpec, name: str, until_ms: int | None) -> Node:
    """Return a node that lies, or an honest one when the time for it is over."""
    if until_ms is not None and SystemClock().now_ms() >= until_ms:
        log.warning("liar.over", extra={"behaviour": name})
        return Node(spec)
    log.warning("liar.started", extra={"behaviour": name})
    if name == "corrupt_document":
        log.warning("liar.corrupted", extra={"row": corrupt(spec)})
    return LyingNode(spec, lying_parts(spec, name), until_ms)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m dataplane.simulation.byzantine.node", description=__doc__
    )
    names: Iterable[str] = (*REAL_NAMES, *BEHAVIOUR_NAMES)
    parser.add_argument("--spec", required=True, type=Path, help="the node's specification file")
    parser.add_argument("--behaviour", required=True, choices=names, help="how it lies")
    parser.add_argument("--until-ms", type=int, help="when it stops lying, by the wall clock")
    return parser.parse_args()


def main() -> int:
    """Parse the command line and run the liar, unless its cluster is one that is used."""
    arguments = _arguments()
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
    name, until_ms = arguments.behaviour, arguments.until_ms
    return run(arguments.spec, lambda spec: lying_node(spec, name, until_ms))


if __name__ == "__main__":
    sys.exit(main())
