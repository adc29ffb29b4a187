"""Stories of copied states: calm runs of whole clusters, each with one liar."""

from collections.abc import Callable
from dataclasses import replace

from dataplane.simulation.scenarios.lab import expect
from dataplane.simulation.scenarios.members import options, run


def copied_answers_are_taken() -> None:
    """Who is left out until its batches are gone finds its answers in the states it copies."""
    wanted = options(4, byzantine=((0, "selective"),), requests=(1, 2, 3) * 7)
    limits = replace(
        wanted.limits, checkpoint_interval=2, window=4, pipeline=2, retained_batches_max=1
    )
    world = run(replace(wanted, limits=limits))
    expect(world.counters["state_copied"] >= 1, "the node that is left out copied a state")
    expect(world.counters["answer_copied"] >= 1, "the state held answers that it waited for")


TRANSFER_SCENARIOS: tuple[Callable[[], None], ...] = (copied_answers_are_taken,)
