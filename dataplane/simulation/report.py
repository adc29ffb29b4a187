"""What a sweep found, as text."""

from collections import Counter
from collections.abc import Iterable

from dataplane.simulation.checkers.suite import CHECKERS
from dataplane.simulation.coverage import SEEDS_TO_COVER, missing_rules, rules
from dataplane.simulation.world import RunResult


class Tally:
    """Sums up the runs of a sweep."""

    def __init__(self, *, wants_rules: bool = True) -> None:
        self._wants_rules = wants_rules
        self.totals: Counter[str] = Counter()
        self.runs: Counter[str] = Counter()
        self.run_count = 0
        self.failed: list[RunResult] = []

    def add(self, result: RunResult) -> None:
        """Take the result of one run."""
        self.run_count += 1
        self.totals.update(result.counters)
        self.runs.update(what for what, count in result.counters.items() if count)
        if result.violation is not None or result.is_silent_fork:
            self.failed.append(result)

    @property
    def missing(self) -> list[str]:
        """Rules that must have applied in a sweep as long as this one, and did not."""
        is_long = self._wants_rules and self.run_count >= SEEDS_TO_COVER
        return missing_rules(self.totals) if is_long else []

    def failures(self) -> Iterable[str]:
        """Return a line for each run that broke a promise."""
        for result in self.failed:
            yield f"seed {result.seed} VIOLATION {result.violation or 'a fork nobody noticed'}"

    def lines(self) -> Iterable[str]:
        """Return the table: how often, and in how many runs."""
        yield f"{self.run_count} seeds, {len(self.failed)} violations"
        known = rules()
        for what in sorted(set(self.totals) - set(known)):
            yield f"  {what:32} {self.totals[what]:>9} in {self.runs[what]:>5} runs"
        if not self._wants_rules:
            return
        yield "rules:"
        for rule in sorted(known):
            yield f"  {rule:32} {self.totals[rule]:>9} in {self.runs[rule]:>5} runs"
        for rule in self.missing:
            yield f"RULE NEVER APPLIED {rule}: {known[rule]}"


def checker_lines() -> Iterable[str]:
    """Return the checkers, each with its invariant and its promise."""
    for checker in CHECKERS:
        promise = (checker.__doc__ or "").partition("\n")[0]
        yield f"{checker.name:16} {checker.invariant:8} {promise}"
