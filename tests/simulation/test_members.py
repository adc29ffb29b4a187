"""Clusters whose members change: under load, in view changes, with crashes at every step."""

from dataclasses import replace
from random import Random

import pytest

from dataplane.simulation.membership import draw_epochs, is_borne
from dataplane.simulation.options import draw_options
from dataplane.simulation.plan import Crash, Death, EndCrash
from dataplane.simulation.scenarios.members import (
    options,
    run,
    sleeper_goes_on_in_a_later_epoch,
)


@pytest.mark.parametrize("application", ["kv", "documents"])
def test_a_cluster_grows_and_shrinks_and_grows_again(application):
    world = run(options(1, (0, 1, 2), (2,), (2, 3, 4, 5), application=application))
    assert [node.id for node in world.honest if node.is_member] == [2, 3, 4, 5]


def test_bug_31_the_end_of_an_epoch_beyond_the_window_is_reached():
    # The order comes just before a checkpoint, and the end lies behind the high watermark.
    for tail in (4, 8):
        wanted = options(4, (0, 1, 2, 4))
        limits = replace(wanted.limits, checkpoint_interval=2, window=4, pipeline=tail)
        run(replace(wanted, limits=limits, requests=(0,) * 3))


@pytest.mark.parametrize("before", range(5))
@pytest.mark.parametrize("delay_ms", [0, 3, 12])
def test_bug_32_all_crash_at_each_step_of_a_change(before, delay_ms):
    downs = tuple((node, 1 + 40 * node) for node in range(4))
    for epoch in (0, 1):
        crash = EndCrash("end.0", 0, epoch, before, delay_ms, downs)
        run(options(3, (0, 1, 2, 3), (1, 2, 3), faults=(crash,), seed=before * 20 + delay_ms))


def test_bug_32_a_view_changes_while_the_epoch_ends():
    for at_ms in range(150, 450, 50):
        crash = Crash("crash.0", at_ms, ((0, 2_000),))
        run(options(4, (0, 1, 2, 4), (1, 2, 4, 5), faults=(crash,), seed=at_ms))


def test_bug_33_new_members_with_empty_disks_are_no_obstacle():
    world = run(options(1, (0, 1, 2, 3), (0, 1, 2, 3, 4, 5, 6)))
    assert world.counters["learner_started"] == 6
    # Those of the second change could check no batch of the first epoch.
    assert world.counters["state_copied"] >= 3


def test_a_dead_primary_is_replaced():
    death = Death("death.0", 100, 0)
    world = run(options(4, (1, 2, 3, 4), faults=(death,)))
    assert world.counters["view_left"]


def test_a_liar_is_replaced_and_its_votes_count_no_more():
    world = run(options(4, (0, 1, 3, 4), byzantine=((2, "double_voter"),)))
    assert not world.nodes[2].is_member


def test_a_change_is_left_out_by_its_name():
    wanted = options(1, (0, 1, 2), (2,))
    assert wanted.epochs == ((0,), (0, 1, 2), (2,))
    assert wanted.replicas == (0, 1, 2)


def test_every_drawn_epoch_bears_its_liars_and_no_id_comes_twice():
    drawn = [draw_options(seed) for seed in range(400)]
    changing = [wanted for wanted in drawn if wanted.changes]
    assert len(changing) > 80
    for wanted in changing:
        assert not wanted.is_beyond_model
        gone: set[int] = set()
        for members, following in zip(wanted.epochs, wanted.epochs[1:], strict=False):
            assert len(following) != 2
            gone |= set(members) - set(following)
            assert not gone & set(following)
            assert all(member > max(members) for member in set(following) - set(members))


def test_a_useless_node_goes_first():
    assert is_borne((0, 1, 2), liars=(), mute=(2,))
    assert not is_borne((0, 1), liars=(1,), mute=())
    chances = [Random(seed) for seed in range(20)]
    for chance in chances:
        for members in draw_epochs(chance, range(4), liars=(3,), mute=(3,), count=1):
            assert 3 not in members or len(members) > 4


@pytest.mark.parametrize("application", ["kv", "documents"])
def test_who_slept_through_a_change_and_everybodys_memory_goes_on_in_the_later_epoch(application):
    sleeper_goes_on_in_a_later_epoch(application)
