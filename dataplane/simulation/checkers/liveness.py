"""After healing every request is answered and every honest replica comes along."""

from typing import TYPE_CHECKING, override

from dataplane.simulation.checkers.checker import Checker

if TYPE_CHECKING:
    from dataplane.simulation.world import World

LAG_MAX = 2


class Liveness(Checker):
    """Needs a quorum of honest replicas; a lying primary is replaced."""

    name = "liveness"

    def is_quiet(self, world: "World") -> bool:
        """Whether nothing is left to wait for."""
        if any(not node.gateway.is_done for node in world.honest):
            return False
        return not self.laggards(world)

    def laggards(self, world: "World") -> list[int]:
        """Return the honest replicas that are more than two batches behind, or still damaged."""
        newest = max(node.executor.applied for node in world.honest)
        stable = max(node.replica.stable for node in world.honest if node.replica is not None)
        return [
            node.id
            for node in world.honest
            if node.executor.applied < newest - LAG_MAX or node.must_be_repaired(stable)
        ]

    @override
    def at_end(self, world: "World") -> None:
        if not self.options.is_live:
            return
        waiting = [node.id for node in world.honest if not node.gateway.is_done]
        if waiting:
            self.fail(f"requests of {waiting} were never answered after healing")
        if self.laggards(world):
            self.fail(f"nodes {self.laggards(world)} never caught up after healing")
