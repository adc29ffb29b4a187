"""Two honest copies of one identity, under every partition of every round."""

import pytest

from dataplane.simulation.__main__ import main
from dataplane.simulation.plants import planted
from dataplane.simulation.sweep import run_seeds, run_twins
from dataplane.simulation.twins import PHASE_MS, VIEW_MS, Family

PHASES = Family(4, (0,), 2, PHASE_MS)


def _failures(family, results):
    return [
        f"{result.violation} (--twins {family.text} --seed {result.seed} --trace)"
        for result in results
        if result.violation is not None
    ]


@pytest.mark.parametrize(
    ("family", "step"),
    [
        (PHASES, 2),
        (Family(4, (0,), 3, PHASE_MS), 61),
        (Family(4, (0,), 2, VIEW_MS), 5),
        (Family(4, (1,), 2, VIEW_MS), 5),
        (Family(7, (0, 3), 2, PHASE_MS), 2_003),
    ],
    ids=lambda value: value.text if isinstance(value, Family) else None,
)
@pytest.mark.slow
def test_up_to_f_pairs_of_twins_break_no_promise(family, step):
    results = list(run_twins(family, family.scenarios(step)))
    assert not _failures(family, results)
    assert any(result.counters.get("new_view_accepted") for result in results)
    assert all(result.counters["acknowledged"] for result in results)


def test_twins_equivocate_without_any_code_of_attack():
    results = run_twins(PHASES, PHASES.scenarios(16))
    assert any(result.counters.get("accused_equivocation") for result in results)


def test_every_scenario_of_a_family_is_another():
    family = Family(3, (1,), 2, PHASE_MS)
    seen = {tuple(cut.blocked for cut in family.options(i).faults) for i in family.scenarios()}
    assert len(seen) == family.size == 64


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "step"), [(Family(3, (0,), 2, VIEW_MS), 1), (Family(4, (0, 1), 2, VIEW_MS), 41)]
)
def test_a_pair_of_twins_too_many_forks_and_is_proved(family, step):
    results = list(run_twins(family, family.scenarios(step)))
    assert not _failures(family, results)  # No honest replica is accused, none votes twice.
    forked = [result for result in results if result.counters.get("forked")]
    assert any(result.counters.get("fork_provable") for result in forked)
    # Every fork is noticed by a replica; where two quorums of one view or of one checkpoint are
    # there to show it, it is proved who lied.
    assert all(result.counters.get("fork_noticed_by_replicas") for result in forked)
    assert not [result.seed for result in results if result.is_silent_fork]


@pytest.mark.slow
def test_a_liar_too_many_is_noticed():
    results = list(run_seeds(range(10), beyond=True))
    assert not [result.violation for result in results if result.violation is not None]
    forked = [result for result in results if result.counters.get("forked")]
    assert forked
    assert all(result.counters.get("fork_noticed_by_replicas") for result in forked)
    assert not [result.seed for result in results if result.is_silent_fork]


def test_twins_catch_a_quorum_that_is_too_small():
    with planted("quorum_minus_one"):
        found = {result.checker for result in run_twins(PHASES, range(8))}
    assert "certificates" in found


def test_the_command_line_runs_and_repeats_scenarios(capsys):
    assert main(["--twins", "4:0:2:4", "--seeds", "0-3"]) == 0
    assert "4 seeds, 0 violations" in capsys.readouterr().out
    assert main(["--twins", "4:0:2:4", "--seed", "2"]) == 0
    with pytest.raises(SystemExit):
        main(["--twins", "4:7:2:4"])
