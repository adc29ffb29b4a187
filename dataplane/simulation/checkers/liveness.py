"""After healing every request is answered and every honest replica comes along."""

from typing import TYPE_CHECKING, override

from dataplane.simulation.checkers.checker import Checker

if TYPE_CHECKING:
    from dataplane.simulation.node import Node
    from dataplane.simulation.world import World

LAG_MAX = 2


class Liveness(Checker):
    """Needs a quorum of honest replicas; a lying primary is replaced."""

    name = "liveness"
    invariant = "I15"

    def is_quiet(self, world: "World") -> bool:
        """Whether nothing is left to wait for."""
        return world.control_plane.is_done and not self._waiting(world) and not self.laggards(world)

    def _served(self, world: "World") -> list["Node"]:
        """Return the nodes that must come along.

        One whose clock is an hour off refuses every proposal. It may copy states for ever where its
        peers drop batches early, and a node that executes nothing has no answers of its own.
        """
        last = self.options.members(world.control_plane.newest.epoch)
        wrong = dict(self.options.wrong_clocks)
        return [
            node
            for node in world.honest
            if node.id in last and node.id not in wrong and not node.is_dead
        ]

    def _waiting(self, world: "World") -> list[int]:
        return [node.id for node in self._served(world) if not node.gateway.is_done]

    def laggards(self, world: "World") -> list[int]:
        """Return the honest replicas that are more than two batches behind, or still damaged."""
        epoch = world.control_plane.newest.epoch
        newest = max(node.executor.applied for node in world.honest)
        stable = max(node.replica.stable for node in world.honest if node.replica is not None)
        return [
            node.id
            for node in self._served(world)
            if node.executor.applied < newest - LAG_MAX
            or node.kept.must_be_repaired(stable)
            or node.config.epoch != epoch
        ]

    @override
    def at_end(self, world: "World") -> None:
        if not self.options.is_live:
            return
        if not world.control_plane.is_done:
            self.fail(f"the members are still those of epoch {world.control_plane.newest.epoch}")
        if self._waiting(world):
            self.fail(f"requests of {self._waiting(world)} were never answered after healing")
        if self.laggards(world):
            self.fail(f"nodes {self.laggards(world)} never caught up after healing")
