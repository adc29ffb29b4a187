"""Run the simulator: `python -m dataplane.simulation --seeds 0-999`."""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence

from dataplane.simulation.options import APPLICATIONS, draw_options
from dataplane.simulation.plants import PLANTS, planted
from dataplane.simulation.sweep import run_seeds
from dataplane.simulation.trace import Trace
from dataplane.simulation.world import run_world

PLANT_SEEDS = "0-199"


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


def _seed_range(text: str) -> range:
    first, _, last = text.partition("-")
    try:
        seeds = range(int(first), int(last or first) + 1)
    except ValueError as error:
        raise argparse.ArgumentTypeError("seeds are A-B or one number") from error
    if not seeds:
        raise argparse.ArgumentTypeError("the range holds no seed")
    return seeds


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m dataplane.simulation",
        description="Run whole clusters on virtual time and check what the protocol promises.",
    )
    parser.add_argument("--seeds", type=_seed_range, help="run seeds A-B")
    parser.add_argument("--seed", type=int, help="run one seed")
    parser.add_argument("--trace", action="store_true", help="print the run of --seed")
    parser.add_argument("--jobs", type=int, default=1, help="processes for --seeds")
    parser.add_argument("--application", choices=APPLICATIONS, default="kv")
    parser.add_argument("--plant", choices=sorted(PLANTS), help="run with a planted bug")
    parser.add_argument("--list-plants", action="store_true")
    return parser


def _run_one(seed: int, application: str, *, is_traced: bool) -> int:
    result = run_world(draw_options(seed, application), Trace(_say if is_traced else None))
    _say(f"seed {seed} trace {result.trace_digest} after {result.virtual_ms} ms: {result.counters}")
    if result.violation is not None:
        _say(f"seed {seed} VIOLATION {result.violation}")
        return 1
    return 0


def _run_many(seeds: range, application: str, jobs: int) -> int:
    totals: Counter[str] = Counter()
    failed = 0
    for result in run_seeds(seeds, jobs=jobs, application=application):
        totals.update(result.counters)
        if result.violation is not None:
            failed += 1
            _say(f"seed {result.seed} VIOLATION {result.violation}")
    _say(f"{len(seeds)} seeds, {failed} violations")
    for what in sorted(totals):
        _say(f"  {what} {totals[what]}")
    return 1 if failed else 0


def _run_plant(name: str, seeds: range, application: str) -> int:
    with planted(name):
        for seed in seeds:
            result = run_world(draw_options(seed, application), Trace())
            if result.violation is not None:
                _say(f"{name} caught at seed {seed}: {result.violation}")
                return 1
    _say(f"{name} NOT caught in {len(seeds)} seeds")
    return 0


def main(arguments: Sequence[str]) -> int:
    """Run what the command line asks for; return the exit status.

    With `--plant` the status is 1 when the planted bug is caught, like any other violation.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.list_plants:
        for name in sorted(PLANTS):
            _say(f"{name:28} {PLANTS[name].__doc__}")
        return 0
    if options.plant is not None:
        seeds = options.seeds or _seed_range(PLANT_SEEDS)
        return _run_plant(options.plant, seeds, options.application)
    if options.seed is not None:
        return _run_one(options.seed, options.application, is_traced=options.trace)
    if options.seeds is None:
        parser.error("say --seeds, --seed, --plant or --list-plants")
    return _run_many(options.seeds, options.application, options.jobs)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
