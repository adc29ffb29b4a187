"""Many seeds, on several processors."""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

from dataplane.simulation.options import draw_options
from dataplane.simulation.trace import Trace
from dataplane.simulation.world import RunResult, run_world

CHUNK = 4


def run_seed(seed: int, application: str = "kv") -> RunResult:
    """Run one seed."""
    return run_world(draw_options(seed, application), Trace())


def _run(job: tuple[int, str]) -> RunResult:
    return run_seed(*job)


def run_seeds(seeds: range, *, jobs: int = 1, application: str = "kv") -> Iterator[RunResult]:
    """Yield the results of seeds, in order."""
    work = [(seed, application) for seed in seeds]
    if jobs == 1:
        yield from map(_run, work)
        return
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(_run, work, chunksize=CHUNK)
