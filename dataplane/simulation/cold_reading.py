"""A node's reads of cold segments: the real logic on virtual time, over a network that loses."""

from random import Random
from typing import TYPE_CHECKING, Final

from dataplane.documents.cold import SegmentTable
from dataplane.documents.own_fragments import OwnFragments
from dataplane.documents.state import StateMachine
from dataplane.replication.errors import NotReadyError
from dataplane.replication.fragments import (
    PATIENCE_MS,
    FragmentPorts,
    Fragments,
    Gathering,
    whole,
)
from dataplane.replication.peer_messages import FragmentAnswer, FragmentAsk
from dataplane.simulation.byzantine.reads import lie_about_fragment
from dataplane.simulation.checkers.checker import ColdRead

if TYPE_CHECKING:
    from dataplane.simulation.node import Node

SHARE: Final = 0.3
"""Of a client's turns, how many also read a cold segment."""
OPEN_MAX: Final = 4
TIMEOUT_MS: Final = 2_000


class ColdReader:
    """One node's reads of segments; a restart forgets those under way."""

    def __init__(self, node: "Node") -> None:
        self._node = node
        self._chance = Random(f"{node.world.options.seed} cold {node.instance}")
        self._ticks = False
        self.restart()

    def restart(self) -> None:
        """Begin a new life."""
        node = self._node
        self._open: list[Gathering] = []
        self._fragments = Fragments(
            FragmentPorts(
                own=OwnFragments(node.id, self._table, lambda: node.kept.store),
                reachable=lambda _peer: True,
                queued_bytes=lambda _peer: 0,
                send=self._send,
                refuse=self._refuse,
                now_ms=lambda: node.world.now_ms,
            )
        )

    def _table(self) -> SegmentTable:
        """Return the segments of the state as it is now."""
        executor = self._node.executor
        assert isinstance(executor, StateMachine)
        return executor.tiers

    def maybe_read(self) -> None:
        """Let a client read a segment, now and then."""
        executor = self._node.executor
        if not isinstance(executor, StateMachine):
            return
        if self._chance.random() >= SHARE or len(self._open) >= OPEN_MAX:
            return
        known = executor.tiers.segments(0, OPEN_MAX)
        wanted = () if executor.mending is None else executor.mending.wanted
        lost = [record for record in known if record.number in wanted]
        if known:
            record = self._chance.choice(lost or known)
            self._open.append(self._fragments.begin(record, timeout_ms=TIMEOUT_MS))
            self._look()

    def _look(self) -> None:
        """Ask on, and tell what is there."""
        for gathering in list(self._open):
            if self._is_done(gathering):
                self._open.remove(gathering)
                self._fragments.end(gathering)
        if self._open and not self._ticks:
            self._ticks = True
            self._node.world.later(PATIENCE_MS, self._tick)

    def _is_done(self, gathering: Gathering) -> bool:
        world, record = self._node.world, gathering.record
        if self._fragments.is_over(record):
            return True
        try:
            if not self._fragments.is_complete(gathering):
                return False
            segment = whole(gathering)
        except NotReadyError:
            world.count("cold_read_not_ready")
            return True
        world.count("cold_read_answered")
        world.checkers.on_cold_read(self._node, ColdRead(record, segment))
        executor = self._node.executor
        assert isinstance(executor, StateMachine)
        mending = executor.mending
        is_wanted = mending is not None and record.number in mending.wanted
        if mending is not None and is_wanted and mending.rebuild(record.number, segment):
            world.count("fragment_rebuilt")
        return True

    def _tick(self) -> None:
        self._ticks = False
        if self._node.replica is not None:
            self._look()

    def _send(self, to: int, message: FragmentAsk | FragmentAnswer) -> None:
        node, said = self._node, message
        if node.behaviour is not None and isinstance(message, FragmentAnswer):
            lie = lie_about_fragment(message, self._chance)
            if lie is None:
                return
            said = lie
        node.world.send_aside(node.instance, to, said)

    def _refuse(self, peer: int, _kind: str, reason: str) -> None:
        world = self._node.world
        world.count("wrong_fragment_refused")
        world.checkers.on_wrong_fragment(self._node, peer, reason)

    def receive(self, sender: int, message: FragmentAsk | FragmentAnswer) -> None:
        """Take a message of another node's reader."""
        if not isinstance(self._node.executor, StateMachine):
            return
        if isinstance(message, FragmentAsk):
            self._fragments.on_ask(sender, message)
        else:
            self._fragments.on_answer(sender, message)
            self._look()
