"""A failing run becomes a small one that one line repeats."""

import shlex

import pytest

from dataplane.simulation.__main__ import main
from dataplane.simulation.options import draw_options
from dataplane.simulation.plants import planted
from dataplane.simulation.schedule import (
    Schedule,
    deliver_text,
    drop_text,
    parse_deliver,
    parse_drop,
)
from dataplane.simulation.shrink import Shrinker, minimize
from dataplane.simulation.trace import Trace
from dataplane.simulation.world import run_world


def test_minimizing_keeps_only_what_is_needed():
    left = list(range(100))

    def remove(chunk):
        rest = [item for item in left if item not in chunk]
        if not {3, 50, 97} <= set(rest):
            return False
        left[:] = rest
        return True

    minimize(list(left), remove)
    assert left == [3, 50, 97]


def test_names_and_messages_survive_the_command_line():
    names = frozenset({"loss", "crash.0", "crash.1", "crash.2", "liar.3", "request.12"})
    assert drop_text(names) == "loss,crash.0-2,liar.3,request.12"
    assert parse_drop(drop_text(names)) == names
    delivered = frozenset({(0, 1, 0), (0, 1, 1), (0, 1, 7), (2, 10, 5)})
    assert deliver_text(delivered) == "0>1:0-1,7 2>10:5"
    assert parse_deliver(deliver_text(delivered)) == delivered


def test_leaving_out_one_fault_changes_no_other():
    full = draw_options(3)
    assert len(full.faults) > 1
    names = [fault.name for fault in full.faults]
    less = draw_options(3, schedule=Schedule(frozenset(names[:1])))
    assert less.faults == full.faults[1:]
    assert less.requests == full.requests
    assert less.limits == full.limits


@pytest.mark.parametrize(
    ("plant", "most_messages"), [("quorum_minus_one", 4), ("count_duplicate_votes", 12)]
)
def test_a_planted_bug_shrinks_to_a_few_messages(plant, most_messages):
    with planted(plant):
        full = draw_options(0)
        before = run_world(full, Trace())
        shrunk = Shrinker(full).shrink()
        again = run_world(draw_options(0, schedule=shrunk.schedule), Trace())
    assert shrunk.result.checker == before.checker
    assert again == shrunk.result
    assert shrunk.schedule.delivered is not None
    assert len(shrunk.schedule.delivered) <= most_messages
    assert run_world(draw_options(0, schedule=shrunk.schedule), Trace()).violation is None


def test_a_crash_that_matters_stays_and_the_others_go():
    with planted("forget_votes_on_restart"):
        seed = next(s for s in range(40) if run_world(draw_options(s), Trace()).violation)
        shrunk = Shrinker(draw_options(seed)).shrink()
        small = draw_options(seed, schedule=shrunk.schedule)
    assert len(small.faults) == 1
    assert small.faults[0].name.startswith(("crash", "blackout"))


def test_the_printed_line_repeats_the_shrunk_run(capsys):
    assert main(["--plant", "quorum_minus_one", "--shrink"]) == 1
    printed = capsys.readouterr().out.splitlines()
    line = shlex.split(printed[-1])
    assert line[:3] == ["python", "-m", "dataplane.simulation"]
    assert main(line[3:]) == 1
    again = capsys.readouterr().out.splitlines()
    violation = next(text for text in printed if "ms" not in text and "VIOLATION" in text)
    assert violation in again


@pytest.mark.parametrize(
    "arguments",
    [["--drop", "rain"], ["--drop", "crash.x"], ["--deliver", "0-1"], ["--deliver", "0>1:x"]],
)
def test_nonsense_is_refused(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--seed", "0", *arguments])
    assert stopped.value.code == 2
    assert capsys.readouterr().err
