"""The tester is tested: every planted bug is caught, by the checker that should."""

import pytest

from dataplane.simulation.__main__ import main
from dataplane.simulation.plants import PLANTS, planted
from dataplane.simulation.sweep import run_seed

SEEDS = range(40)
CAUGHT_BY = {
    "quorum_minus_one": {"certificates", "agreement"},
    "count_duplicate_votes": {"certificates", "agreement"},
    "ignore_digest": {"certificates", "agreement"},
    "count_primary_prepare": {"certificates", "agreement"},
    "no_persist_before_send": {"persisted_first", "durability"},
    "own_vote_before_durable": {"persisted_first", "durability"},
    "execute_twice": {"exactly_once"},
    "no_watermark": {"watermarks"},
    "execute_over_gaps": {"core_assertion", "execution_order"},
    "forget_votes_on_restart": {"one_vote", "durability", "prepared_once"},
    "never_repeat": {"liveness"},
    "never_fetch": {"liveness"},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(PLANTS))
def test_a_planted_bug_is_caught(name):
    others = []
    with planted(name):
        for seed in SEEDS:
            violation = run_seed(seed).violation
            if violation is not None and violation.partition(":")[0] in CAUGHT_BY[name]:
                return
            others.append(violation)
    raise AssertionError(f"{name} was not caught by {CAUGHT_BY[name]}, only {set(others)}")


def test_the_core_is_whole_again_after_a_plant():
    before = run_seed(0)
    with planted("quorum_minus_one"):
        assert run_seed(0).violation is not None
    assert run_seed(0) == before


def test_the_command_line_says_which_seed_caught_it(capsys):
    assert main(["--plant", "quorum_minus_one", "--seeds", "0-5"]) == 1
    assert "quorum_minus_one caught at seed 0" in capsys.readouterr().out


def test_the_command_line_lists_the_plants(capsys):
    assert main(["--list-plants"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in PLANTS)


def test_the_command_line_runs_seeds(capsys):
    assert main(["--seeds", "2-3"]) == 0
    assert "2 seeds, 0 violations" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["--seeds", "x"], ["--seeds", "5-1"]])
def test_the_command_line_refuses_nonsense(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert capsys.readouterr().err
