"""The control plane of the world: it starts nodes that learn, and then orders other members."""

from random import Random
from typing import TYPE_CHECKING

from dataplane.documents.types import Configuration
from dataplane.simulation.membership import Change, member

if TYPE_CHECKING:
    from dataplane.simulation.node import Node
    from dataplane.simulation.world import World

LOOK_EVERY_MS = 100
REPEAT_MS = 500
CLOSE_BEHIND = 8
"""How many batches a learner may lack when it becomes a member."""


class ControlPlane:
    """Brings the changes of a run about, one after the other, however often it must ask."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._rng = Random(f"{world.options.seed} control plane")
        self._asked_ms = -REPEAT_MS

    @property
    def newest(self) -> Configuration:
        """Who the members are, as far as some honest node knows."""
        known = [node.executor.configuration for node in self._world.honest]
        return max(known, key=lambda configuration: configuration.epoch)

    @property
    def is_done(self) -> bool:
        """Whether every change is in force."""
        changes = self._world.options.changes
        return not changes or self.newest.epoch == len(changes)

    def schedule(self) -> None:
        """Begin to look after the cluster."""
        if self._world.options.changes:
            self._look()

    def _look(self) -> None:
        epoch = self.newest.epoch
        if epoch == len(self._world.options.changes):
            return
        change = self._world.options.changes[epoch]
        if self._world.elapsed_ms >= change.at_ms and self.newest.ends_at is None:
            self._bring_about(change)
        self._world.later(LOOK_EVERY_MS, self._look)

    def _bring_about(self, change: Change) -> None:
        world = self._world
        missing = [replica for replica in change.members if replica not in world.nodes]
        for replica in missing:
            world.count("learner_started")
            world.add_learner(replica, self._present())
        present = {known.id for known in self._present().members}
        applied = max(node.executor.applied for node in world.honest)
        # A liar's state is what it says; the control plane cannot tell, and does not wait for it.
        added = [
            node for node in world.honest if node.id in change.members and node.id not in present
        ]
        if world.elapsed_ms - self._asked_ms < REPEAT_MS:
            return
        # A state older than the epoch is of no use, however few batches it lacks: nothing between
        # can be checked by its node.
        least = max(applied - CLOSE_BEHIND, self.newest.base)
        if all(node.executor.applied >= least for node in added):
            wanted = tuple(map(member, change.members))
            self._order(world.workload.order(self.newest.epoch + 1, wanted), change)

    def _present(self) -> Configuration:
        newest = self.newest
        return Configuration(newest.epoch, newest.base, newest.members)

    def _order(self, operation: bytes, change: Change) -> None:
        world, newest = self._world, self.newest
        members = {known.id for known in newest.members}
        able = [node for node in world.honest if node.id in members and self._is_up(node)]
        if not able:
            return
        node = self._rng.choice(able)
        warming = world.workload.warming([node.executor for node in world.honest])
        if warming is not None:
            if node.order(warming):
                world.count("cold_document_moved")
        elif node.order(operation):
            self._asked_ms = world.elapsed_ms
            world.count("members_ordered")
            world.say(f"{change.name} at {node.id}: {change.members}")

    def _is_up(self, node: "Node") -> bool:
        return node.replica is not None and node.is_member
