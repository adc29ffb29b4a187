"""The tester is tested: every planted bug is caught, by what should catch it."""

import pytest

from dataplane.simulation.__main__ import main
from dataplane.simulation.catchers import CAUGHT_BY_SCENARIO, CAUGHT_BY_SEEDS
from dataplane.simulation.plants import PLANTS, planted
from dataplane.simulation.scenarios.catalogue import SCENARIOS, broken_promise
from dataplane.simulation.sweep import run_seed


def test_every_planted_bug_has_its_catcher():
    assert set(CAUGHT_BY_SEEDS) | set(CAUGHT_BY_SCENARIO) == set(PLANTS)
    assert not set(CAUGHT_BY_SEEDS) & set(CAUGHT_BY_SCENARIO)


def test_every_scenario_catches_something():
    assert set(CAUGHT_BY_SCENARIO.values()) == set(SCENARIOS)


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_an_honest_scenario_passes(name):
    assert broken_promise(name) is None


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(PLANTS))
def test_the_command_line_catches_every_planted_bug(name, capsys):
    assert main(["--plant", name]) == 1
    caught = capsys.readouterr().out
    if name in CAUGHT_BY_SCENARIO:
        assert f"{name} caught by scenario {CAUGHT_BY_SCENARIO[name]}: " in caught
    else:
        checkers = CAUGHT_BY_SEEDS[name].checkers
        assert any(f": {checker}: " in caught for checker in checkers)


def test_the_core_is_whole_again_after_a_plant():
    before = run_seed(0)
    with planted("quorum_minus_one"):
        assert run_seed(0).violation is not None
    assert run_seed(0) == before


def test_the_command_line_says_what_caught_it(capsys):
    assert main(["--plant", "quorum_minus_one", "--seeds", "0-5"]) == 1
    assert "quorum_minus_one caught at seed 0" in capsys.readouterr().out
    assert main(["--plant", "vote_guard_removed"]) == 1
    caught = "vote_guard_removed caught by scenario no_second_vote_for_a_slot"
    assert caught in capsys.readouterr().out


def test_the_command_line_plays_scenarios(capsys):
    assert main(["--scenarios"]) == 0
    assert capsys.readouterr().out.count(" ok\n") == len(SCENARIOS)
    asked = ["--scenario", "no_second_vote_for_a_slot"]
    assert main(asked) == 0
    assert main([*asked, "--plant", "vote_guard_removed"]) == 1


def test_the_command_line_lists_the_plants_with_their_catchers(capsys):
    assert main(["--list-plants"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert {line.split()[0] for line in listed[::2]} == set(PLANTS)
    assert all("caught by" in line for line in listed[1::2])


def test_the_command_line_runs_seeds(capsys):
    assert main(["--seeds", "2-3"]) == 0
    assert "2 seeds, 0 violations" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["--seeds", "x"], ["--seeds", "5-1"]])
def test_the_command_line_refuses_nonsense(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert capsys.readouterr().err
