"""Many seeds, on several processors."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from dataplane.simulation.options import draw_options
from dataplane.simulation.trace import Trace
from dataplane.simulation.twins import Family
from dataplane.simulation.world import RunResult, run_world

CHUNK = 4


def run_seed(seed: int, application: str = "kv", *, beyond: bool = False) -> RunResult:
    """Run one seed."""
    return run_world(draw_options(seed, application, beyond=beyond), Trace())


def run_seeds(
    seeds: range, *, jobs: int = 1, application: str = "kv", beyond: bool = False
) -> Iterator[RunResult]:
    """Yield the results of seeds, in order."""
    yield from _spread(partial(run_seed, application=application, beyond=beyond), seeds, jobs)


def run_twins(family: Family, scenarios: Sequence[int], *, jobs: int = 1) -> Iterator[RunResult]:
    """Yield the results of scenarios with twins, in order."""
    yield from _spread(partial(_run_twins, family), scenarios, jobs)


def _run_twins(family: Family, index: int) -> RunResult:
    return run_world(family.options(index), Trace())


def _spread(run: Callable[[int], RunResult], work: Sequence[int], jobs: int) -> Iterator[RunResult]:
    if jobs == 1:
        yield from map(run, work)
        return
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(run, work, chunksize=CHUNK)
