"""Every lie about views, told by the first primaries of a nervous cluster."""

from dataclasses import replace

import pytest

from dataplane.simulation.byzantine.views import VIEW_LIARS
from dataplane.simulation.options import VIEW_BEHAVIOURS, draw_options
from dataplane.simulation.trace import Trace
from dataplane.simulation.world import run_world

# Seeds of clusters that bear a liar, with faults enough to change the view.
SEEDS = (4, 8, 17)


def _run(name: str, seed: int, lines: list[str] | None = None):
    drawn = draw_options(seed)
    assert drawn.n >= 4
    limits = replace(
        drawn.limits,
        heartbeat_timeout_ms=250,
        request_timeout_min_ms=200,
        view_timeout_ms=200,
    )
    liars = ((1, name),) if drawn.n < 7 else ((0, name), (1, name))
    options = replace(drawn, limits=limits, byzantine=liars, loss=0.05)
    return run_world(options, Trace(None if lines is None else lines.append))


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", sorted(VIEW_LIARS))
def test_a_lie_about_views_breaks_no_promise(name, seed):
    assert _run(name, seed).violation is None


def test_options_draw_every_lie_about_views():
    assert set(VIEW_BEHAVIOURS) == set(VIEW_LIARS)
    drawn = {name for seed in range(400) for _, name in draw_options(seed).byzantine}
    assert drawn >= set(VIEW_BEHAVIOURS)


def _said(name: str, *words: str) -> bool:
    """Whether some run has a line with all the words."""
    for seed in range(3, 30):
        if draw_options(seed).n < 4:
            continue
        lines: list[str] = []
        _run(name, seed, lines)
        if any(all(word in line for word in words) for line in lines):
            return True
    return False


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("suspect_spammer", ("1>", "Suspect v1099511627776")),
        ("huge_views", ("1>", "ViewChange v10995")),
        ("proof_hider", ("1>", "ViewChange", "prepared []")),
        ("slow_primary", ("Suspect v1",)),
        ("censor", ("Suspect v1",)),
        ("false_new_view", ("1>", "NewView v1")),
        ("two_new_views", ("1>", "NewView v1")),
        ("selective_new_view", ("1>", "NewView v1")),
        ("old_views", ("1>", "Heartbeat v1")),
    ],
)
def test_the_lie_is_told(name, words):
    assert _said(name, *words)
