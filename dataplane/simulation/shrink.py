"""Makes a failing run small: the same checker must still find something.

Theory of operation. First whole things are left out (requests, faults, liars, loss, delays), in
halves, quarters and so on down to single ones (Zeller & Hildebrandt, "Simplifying and isolating
failure-inducing input", TSE 2002). If the promise breaks before the cluster heals, the messages up
to there are taken away in the same manner: losing one is always allowed then, so what remains is
still a run of the model and not an artefact of shrinking. Else the cluster is healed earlier.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from dataplane.simulation.options import Options, reduced
from dataplane.simulation.schedule import KNOBS, Schedule
from dataplane.simulation.trace import Trace
from dataplane.simulation.world import RunResult, World, play

RUNS_MAX = 3_000


@dataclass(slots=True)
class Shrunk:
    """The smallest failing run that was found."""

    schedule: Schedule
    result: RunResult
    run_count: int


class Shrinker:
    """Looks for a smaller schedule of one run that breaks the same promise."""

    def __init__(self, options: Options, *, runs_max: int = RUNS_MAX) -> None:
        self._options = options
        self._left = runs_max
        self._run_count = 0
        self._best = options.schedule
        self._is_early = False
        """The promise breaks before the cluster heals, and must go on to do so."""
        world, self._result = self._play(options.schedule)
        self._world = world
        self._checker = self._result.checker
        assert self._checker is not None, "only a run that breaks a promise can be shrunk"

    def _play(self, schedule: Schedule) -> tuple[World, RunResult]:
        self._run_count += 1
        self._left -= 1
        return play(reduced(self._options, schedule), Trace())

    def _try(self, schedule: Schedule) -> bool:
        """Take over a smaller schedule if the promise still breaks, and early enough."""
        if self._left <= 0:
            return False
        world, result = self._play(schedule)
        if result.checker != self._checker or (self._is_early and world.network.healed):
            return False
        self._best, self._world, self._result = schedule, world, result
        return True

    def shrink(self) -> Shrunk:
        """Return the smallest failing run found within the budget."""
        options = self._options
        groups: list[list[str]] = [
            [f"request.{index}" for index in range(len(options.requests))],
            [fault.name for fault in options.faults],
            [f"liar.{replica}" for replica, _ in options.byzantine],
            list(KNOBS),
        ]
        self._drop_all(groups)
        if self._world.network.healed:
            self._heal_earlier()
        else:
            self._is_early = True
            self._lose_messages()
        self._drop_all(groups)
        return Shrunk(self._best, self._result, self._run_count)

    def _drop_all(self, groups: list[list[str]]) -> None:
        for names in groups:
            left = [name for name in names if self._best.keeps(name)]
            minimize(left, self._drop)

    def _drop(self, names: Sequence[str]) -> bool:
        return self._try(replace(self._best, dropped=self._best.dropped.union(names)))

    def _heal_earlier(self) -> None:
        until_ms = self._options.faults_until_ms
        while until_ms > 1 and self._try(replace(self._best, until_ms=until_ms // 2)):
            until_ms //= 2

    def _lose_messages(self) -> None:
        """Take single messages away: what is left breaks before the cluster heals."""
        delivered = dict.fromkeys(self._world.network.delivered)
        schedule = replace(self._best, delivered=frozenset(delivered))
        if not self._try(schedule):
            return

        def lose(messages: Sequence[tuple[int, int, int]]) -> bool:
            assert self._best.delivered is not None
            rest = self._best.delivered.difference(messages)
            return self._try(replace(self._best, delivered=rest))

        minimize(list(delivered), lose)
        arrived = frozenset(self._world.network.delivered)
        self._try(replace(self._best, delivered=arrived))


def minimize[T](items: Sequence[T], remove: Callable[[Sequence[T]], bool]) -> None:
    """Remove as many items as possible: all, halves, quarters, ..., single ones until none goes."""
    left = list(items)
    size = len(left)
    while size >= 1 and left:
        position, has_removed = 0, False
        while position < len(left):
            chunk = left[position : position + size]
            if remove(chunk):
                del left[position : position + size]
                has_removed = True
            else:
                position += size
        if size == 1:
            if not has_removed:
                return
        else:
            size = max(1, size // 2)
