"""After healing every request is answered and every honest replica comes along."""

from typing import TYPE_CHECKING, override

from dataplane.simulation.checkers.checker import Checker
from dataplane.simulation.checkers.persistence import quorum_by_the_paper

if TYPE_CHECKING:
    from dataplane.simulation.world import World

LAG_MAX = 2


class Liveness(Checker):
    """Needs a quorum of honest replicas; a lying primary is replaced."""

    name = "liveness"
    invariant = "I15"

    def is_quiet(self, world: "World") -> bool:
        """Whether nothing is left to wait for."""
        if any(not node.gateway.is_done for node in world.honest if self._counts(world, node.id)):
            return False
        return not self.laggards(world)

    def laggards(self, world: "World") -> list[int]:
        """Return the honest replicas that are more than two batches behind."""
        newest = max(node.executor.applied for node in world.honest)
        return [
            node.id
            for node in world.honest
            if self._counts(world, node.id) and node.executor.applied < newest - LAG_MAX
        ]

    def _must_live(self, world: "World") -> bool:
        """Whether a quorum is left that needs nothing but what the protocol has.

        A replica behind everybody's retention needs the transfer of state, which is not there yet.
        """
        able = self.options.n - len(self.options.unable | world.left_behind)
        return self.options.is_live and able >= quorum_by_the_paper(self.options.n)

    def _counts(self, world: "World", replica: int) -> bool:
        return replica not in world.left_behind and not world.nodes[replica].is_damaged

    @override
    def at_end(self, world: "World") -> None:
        if not self._must_live(world):
            return
        waiting = [
            node.id
            for node in world.honest
            if self._counts(world, node.id) and not node.gateway.is_done
        ]
        if waiting:
            self.fail(f"requests of {waiting} were never answered after healing")
        if self.laggards(world):
            self.fail(f"nodes {self.laggards(world)} never caught up after healing")
