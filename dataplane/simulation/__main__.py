"""Run the simulator: `python -m dataplane.simulation --seeds 0-999`."""

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext

from dataplane.simulation.catchers import CAUGHT_BY_SCENARIO, CAUGHT_BY_SEEDS, catcher_of
from dataplane.simulation.options import APPLICATIONS, Options, draw_options, reduced
from dataplane.simulation.plants import PLANTS, planted
from dataplane.simulation.report import Tally, checker_lines
from dataplane.simulation.scenarios.catalogue import SCENARIOS, broken_promise
from dataplane.simulation.schedule import Schedule, parse_deliver, parse_drop
from dataplane.simulation.shrink import Shrinker
from dataplane.simulation.sweep import run_seeds, run_twins
from dataplane.simulation.trace import Trace
from dataplane.simulation.twins import Family, parse_family
from dataplane.simulation.world import run_world

SHOWN_LINES = 150


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


def _say_all(lines: Iterable[str]) -> None:
    for line in lines:
        _say(line)


def _checked[T](parse: Callable[[str], T], what: str) -> Callable[[str], T]:
    def checked(text: str) -> T:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{what}: {error}") from error

    return checked


def _seed_range(text: str) -> range:
    first, _, last = text.partition("-")
    seeds = range(int(first), int(last or first) + 1)
    if not seeds:
        raise ValueError("the range holds no seed")
    return seeds


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m dataplane.simulation",
        description="Run whole clusters on virtual time and check what the protocol promises.",
    )
    seeds = _checked(_seed_range, "seeds are A-B or one number")
    parser.add_argument("--seeds", type=seeds, help="run seeds A-B")
    parser.add_argument("--seed", type=int, help="run one seed")
    parser.add_argument("--trace", action="store_true", help="print the run of --seed")
    parser.add_argument("--jobs", type=int, default=1, help="processes for --seeds")
    parser.add_argument("--application", choices=APPLICATIONS, default="kv")
    parser.add_argument("--shrink", action="store_true", help="make the first failing run small")
    drop, deliver = _checked(parse_drop, "names"), _checked(parse_deliver, "messages")
    parser.add_argument("--drop", type=drop, help="leave out of --seed: crash.0-2,liar.1,loss")
    parser.add_argument("--deliver", type=deliver, help="lose all other messages: '0>1:0-3 1>0:2'")
    parser.add_argument("--until", type=int, help="heal after so many milliseconds at the latest")
    parser.add_argument("--beyond", action="store_true", help="one liar more than f")
    parser.add_argument(
        "--twins",
        type=_checked(parse_family, "twins are n:ids:rounds:ms"),
        help="run enumerated partitions of twins, the seeds are scenarios: 4:0:2:4",
    )
    parser.add_argument("--plant", choices=sorted(PLANTS), help="run with a planted bug")
    parser.add_argument("--scenario", choices=sorted(SCENARIOS), help="play one small story")
    parser.add_argument("--scenarios", action="store_true", help="play all of them")
    parser.add_argument("--list-plants", action="store_true", help="each with what catches it")
    parser.add_argument("--list-checkers", action="store_true")
    return parser


class Command:
    """One call of the command line."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._arguments = arguments
        self._application: str = arguments.application
        self._plant: str | None = arguments.plant

    def _options(self, seed: int, schedule: Schedule | None = None) -> Options:
        if self._arguments.twins is not None:
            family: Family = self._arguments.twins
            options = family.options(seed)
            return options if schedule is None else reduced(options, schedule)
        return draw_options(seed, self._application, schedule, beyond=self._arguments.beyond)

    def run(self) -> int:
        """Run seeds, with the planted bug if one is named; return the exit status."""
        arguments = self._arguments
        with nullcontext() if self._plant is None else planted(self._plant):
            if arguments.seed is not None:
                return self._one(arguments.seed)
            if arguments.scenario is not None or arguments.scenarios:
                return self._play([arguments.scenario] if arguments.scenario else list(SCENARIOS))
            if self._plant is not None:
                return self._catch(self._plant)
            return self._sweep(arguments.seeds)

    def _one(self, seed: int) -> int:
        arguments = self._arguments
        schedule = Schedule(
            arguments.drop or frozenset(),
            arguments.deliver,
            arguments.until,
        )
        options = self._options(seed, schedule)
        result = run_world(options, Trace(_say if arguments.trace else None))
        _say(f"seed {seed} trace {result.trace_digest} after {result.virtual_ms} ms")
        _say("  " + " ".join(f"{what}={count}" for what, count in result.counters.items()))
        if result.violation is None:
            return 0
        _say(f"seed {seed} VIOLATION {result.violation}")
        if arguments.shrink:
            self._shrink(options)
        return 1

    def _shrink(self, options: Options) -> None:
        """Print the smallest failing run found, and the one line that repeats it."""
        full = self._options(options.seed)
        shrunk = Shrinker(full).shrink()
        _say(f"shrunk in {shrunk.run_count} runs to:")
        lines: list[str] = []
        run_world(self._options(options.seed, shrunk.schedule), Trace(lines.append))
        if len(lines) > 2 * SHOWN_LINES:
            left_out = f"       ... {len(lines) - 2 * SHOWN_LINES} lines ..."
            lines[SHOWN_LINES:-SHOWN_LINES] = [left_out]
        _say_all(lines)
        words = ["python -m dataplane.simulation", f"--seed {options.seed}"]
        if self._arguments.beyond:
            words.append("--beyond")
        if self._arguments.twins is not None:
            words.append(f"--twins {self._arguments.twins.text}")
        if self._application != "kv":
            words.append(f"--application {self._application}")
        if self._plant is not None:
            words.append(f"--plant {self._plant}")
        _say(" ".join([*words, shrunk.schedule.command(), "--trace"]))

    def _sweep(self, seeds: range | None) -> int:
        arguments = self._arguments
        family: Family | None = arguments.twins
        tally = Tally(wants_rules=family is None and not arguments.beyond)
        if family is not None:
            scenarios = seeds or family.scenarios()
            results = run_twins(family, scenarios, jobs=arguments.jobs)
        else:
            assert seeds is not None
            results = run_seeds(
                seeds,
                jobs=arguments.jobs,
                application=self._application,
                beyond=arguments.beyond,
            )
        for result in results:
            tally.add(result)
        _say_all(tally.failures())
        _say_all(tally.lines())
        if tally.failed and self._arguments.shrink:
            self._shrink(self._options(tally.failed[0].seed))
        return 1 if tally.failed or tally.missing else 0

    @staticmethod
    def _play(names: Sequence[str]) -> int:
        broken = {name: broken_promise(name) for name in names}
        for name, promise in broken.items():
            _say(f"{name:36} {promise or 'ok'}")
        return 1 if any(broken.values()) else 0

    def _catch(self, plant: str) -> int:
        """Run what is known to catch a planted bug, or the seeds that are named."""
        named: range | None = self._arguments.seeds
        scenario = CAUGHT_BY_SCENARIO.get(plant)
        if named is None and scenario is not None:
            promise = broken_promise(scenario)
            if promise is not None:
                _say(f"{plant} caught by scenario {scenario}: {promise}")
                return 1
            _say(f"{plant} NOT caught by scenario {scenario}")
            return 0
        if named is not None:
            return self._hunt(plant, named, None)
        known = CAUGHT_BY_SEEDS[plant]
        return self._hunt(plant, known.hunted, known.checkers)

    def _hunt(self, plant: str, seeds: range, checkers: frozenset[str] | None) -> int:
        """Run seeds until one of the checkers, or any, finds something."""
        for seed in seeds:
            options = self._options(seed)
            result = run_world(options, Trace())
            if result.checker is None or (checkers and result.checker not in checkers):
                continue
            _say(f"{plant} caught at seed {seed}: {result.violation}")
            if self._arguments.shrink:
                self._shrink(options)
            return 1
        _say(f"{plant} NOT caught in {len(seeds)} seeds")
        return 0


def main(arguments: Sequence[str]) -> int:
    """Run what the command line asks for; return the exit status.

    With `--plant` the status is 1 when the planted bug is caught, like any other violation.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.list_plants:
        for name in sorted(PLANTS):
            _say(f"{name:33} {PLANTS[name].__doc__}")
            _say(f"{'':33} caught by {catcher_of(name)}")
        return 0
    if options.list_checkers:
        _say_all(checker_lines())
        return 0
    chosen = (options.seed, options.seeds, options.plant, options.twins, options.scenario)
    if all(choice is None for choice in chosen) and not options.scenarios:
        parser.error("say --seeds, --seed, --scenarios, --plant, --list-plants or --list-checkers")
    return Command(options).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
