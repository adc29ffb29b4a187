"""Every rule of the protocol is needed by some run of a long sweep."""

from dataplane.simulation.coverage import NORMAL_RULES, SEEDS_TO_COVER, rules
from dataplane.simulation.report import Tally
from dataplane.simulation.sweep import run_seed
from dataplane.simulation.world import RunResult


def _result(counters):
    return RunResult(0, None, "", counters, 0)


def test_a_long_sweep_names_the_rules_that_never_applied():
    tally = Tally()
    counters = dict.fromkeys(rules(), 1)
    del counters["torn_tail"]
    for _ in range(SEEDS_TO_COVER - 1):
        tally.add(_result(counters))
    assert tally.missing == []
    tally.add(_result(counters))
    assert tally.missing == ["torn_tail"]
    assert any("RULE NEVER APPLIED torn_tail" in line for line in tally.lines())


def test_the_table_counts_rules_and_the_runs_that_used_them():
    tally = Tally()
    tally.add(_result({"fetch_committed": 3, "delivered": 9}))
    tally.add(_result({"fetch_committed": 0, "delivered": 1}))
    table = {line.split()[0]: line.split()[1:] for line in tally.lines()}
    assert table["fetch_committed"] == ["3", "in", "1", "runs"]
    assert table["delivered"] == ["10", "in", "2", "runs"]


def test_counting_does_not_depend_on_the_order_of_runs():
    assert run_seed(7).counters == run_seed(7).counters
    assert set(run_seed(7).counters) & set(NORMAL_RULES)
