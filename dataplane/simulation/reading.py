"""A node's reads without an order, linearizable and of cold segments, on virtual time."""

from functools import partial
from random import Random
from typing import TYPE_CHECKING

from dataplane.replication.peer_messages import IndexAnswer, IndexAsk
from dataplane.replication.polls import Place
from dataplane.replication.strong_reads import PATIENCE_MS, Confirmed, IndexPorts, StrongReads
from dataplane.simulation.byzantine.reads import lie_to_reader
from dataplane.simulation.checkers.checker import Read
from dataplane.simulation.cold_reading import ColdReader
from dataplane.simulation.trace import Aside

if TYPE_CHECKING:
    from dataplane.simulation.node import Node

SHARE = 0.4
"""Of a client's turns, how many also read."""


class Reader:
    """One node's reads; a restart forgets those under way."""

    def __init__(self, node: "Node") -> None:
        self._node = node
        self._chance = Random(f"{node.world.options.seed} reader {node.instance}")
        self._ticks = False
        self._cold = ColdReader(node)
        self.restart()

    def restart(self) -> None:
        """Begin a new life."""
        node = self._node
        self._cold.restart()
        self._reads = StrongReads(
            node.id,
            IndexPorts(
                read=lambda *place: node.world.workload.row(node.executor, place),
                executed=lambda: node.executor.applied,
                epoch=lambda: node.executor.configuration.epoch,
                promised=lambda: None if node.replica is None else node.replica.promised,
                reachable=lambda _peer: True,
                send=self._send,
            ),
        )

    def set_members(self) -> None:
        """Ask the members of the node's epoch."""
        config = self._node.config
        self._reads.set_members(config.epoch, [m.replica_id for m in config.members])
        self._reads.flush(self._now_ms)

    @property
    def _now_ms(self) -> int:
        return self._node.world.now_ms

    def maybe_read(self) -> None:
        """Let a client read, now and then."""
        self._cold.maybe_read()
        key, wants = self._chance.randint(0, 5), self._chance.random() < SHARE
        if not wants:
            return
        place = self._node.world.workload.place(key)
        if self._reads.wish(place, partial(self._done, self._now_ms, place)):
            self._reads.flush(self._now_ms)
            self._arm()

    def _done(self, asked_ms: int, place: Place, confirmed: Confirmed | None) -> None:
        world = self._node.world
        world.count("strong_read_agreed" if confirmed else "strong_read_left_to_the_log")
        if confirmed is not None:
            read = Read(asked_ms, place, confirmed)
            world.checkers.on_read(self._node, read)

    def _arm(self) -> None:
        if not self._ticks and self._reads.open_count:
            self._ticks = True
            self._node.world.later(PATIENCE_MS, self._tick)

    def _tick(self) -> None:
        self._ticks = False
        if self._node.replica is not None:
            self._reads.on_tick(self._now_ms)
            self._arm()

    def _send(self, to: int, message: IndexAsk | IndexAnswer) -> None:
        node, said = self._node, message
        if node.behaviour is not None and isinstance(message, IndexAnswer):
            lie = lie_to_reader(message, self._chance)
            if lie is None:
                return
            said = lie
        node.world.send_aside(node.instance, to, said)

    def receive(self, sender: int, message: Aside) -> None:
        """Take a message of another node's reader."""
        match message:
            case IndexAsk():
                self._reads.on_ask(sender, message)
            case IndexAnswer():
                self._reads.on_answer(sender, message, self._now_ms)
            case _:
                self._cold.receive(sender, message)

    def on_executed(self) -> None:
        """The node executed a batch."""
        self._reads.on_executed(self._now_ms)
