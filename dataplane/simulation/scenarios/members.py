"""Stories of members that change: calm runs of whole clusters, each with one disturbance."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from dataplane.simulation.membership import Change
from dataplane.simulation.options import Options, draw_options
from dataplane.simulation.plan import Cut, RowFlip
from dataplane.simulation.scenarios.lab import expect
from dataplane.simulation.trace import Trace
from dataplane.simulation.world import World, play

BASE = draw_options(2)


def options(n: int, *epochs: tuple[int, ...], seed: int = 1, **changes: Any) -> Options:
    """Return a calm run of `n` replicas with small checkpoints and these further epochs."""
    limits = replace(
        BASE.limits,
        checkpoint_interval=4,
        window=8,
        pipeline=4,
        batch_ops_max=2,
        batch_bytes_max=8_192,
        heartbeat_timeout_ms=400,
        request_timeout_min_ms=400,
        view_timeout_ms=400,
        pending_requests_max=200,
        retained_batches_max=1_024,
    )
    calm = {
        "seed": seed,
        "n": n,
        "limits": limits,
        "byzantine": (),
        "loss": 0.0,
        "duplication": 0.0,
        "delay_max_ms": 10,
        "sync_max_ms": 3,
        "skew_max_ms": 0,
        "drift_max_ppm": 0,
        "torn": True,
        "faults": (),
        "wrong_clocks": (),
        "slow_disks": frozenset(),
        "requests": tuple(index % n for index in range(40)),
        "request_every_ms": 10,
        "faults_until_ms": 3_000,
        "changes": tuple(
            Change(f"members.{index}", 200 * index, members) for index, members in enumerate(epochs)
        ),
    }
    return replace(BASE, **{**calm, **changes})


def run(wanted: Options) -> World:
    """Return the world at the end.

    Raises:
        ViolationError: A promise is broken.
    """
    world, result = play(wanted, Trace())
    expect(result.violation is None, f"no promise is broken: {result.violation}")
    newest = world.control_plane.newest.epoch
    expect(newest == len(wanted.changes), "the last change is in force")
    return world


def _slow(wanted: Options, *, request_count: int, **limits: Any) -> Options:
    """Return the run with fewer signs of life: one that goes on in vain ends soon."""
    slower = replace(
        wanted.limits,
        heartbeat_ms=1_000,
        heartbeat_timeout_ms=4_000,
        request_timeout_min_ms=2_000,
        view_timeout_ms=2_000,
        status_ms=500,
        retransmit_ms=300,
        **limits,
    )
    return replace(wanted, limits=slower, requests=wanted.requests[:request_count])


def _alone(node: int, until_ms: int) -> Cut:
    """Return a cut that leaves one node alone from the beginning."""
    pairs = ((node, other) for other in range(7) if other != node)
    blocked = frozenset(way for pair in pairs for way in (pair, pair[::-1]))
    return Cut("cut.0", 5, until_ms, "isolated", blocked)


def learner_copies_the_beginning() -> None:
    """A learner of an epoch in which nobody asks anything copies the state it began with."""
    wanted = options(1, (0, 1, 2), (1, 2, 3))
    quiet = _slow(wanted, request_count=6, checkpoint_interval=64, window=128)
    world = run(quiet)
    begun = {change.sequence for change in world.chain.changes}
    stable = {node.replica.stable for node in world.honest if node.replica is not None}
    expect(stable <= begun, "no checkpoint followed the change")
    expect(world.counters["state_copied"] >= 1, "the learner copied a state")


def damaged_member_of_a_young_epoch_is_repaired() -> None:
    """Damage before the first checkpoint of an epoch is mended by the state it began with."""
    wanted = options(4, (0, 1, 2, 4), faults=(RowFlip("row.0", 1_500, 2),))
    world = run(_slow(wanted, request_count=6, checkpoint_interval=64, window=128))
    expect(world.counters["alarm.repaired"] == 1, "the damaged node copied a state")


def sleeper_goes_on_in_a_later_epoch(application: str = "kv") -> None:
    """Who slept through a change and everybody's memory goes on in the later epoch."""
    wanted = options(
        4,
        (0, 1, 2, 3, 4),
        (1, 2, 3, 4, 5),
        faults=(_alone(3, 2_500),),
        requests=tuple(index % 3 for index in range(120)),
        application=application,
    )
    world = run(_slow(wanted, request_count=120, retained_batches_max=1))
    expect(world.counters["epoch_passed_over"] == 1, "it gave up its epoch")
    node = world.nodes[3]
    expect(node.config.epoch == len(wanted.changes), "it is in the last epoch")
    keys = [member.gateway_key for member in node.config.members]
    expect(all(keys), "it knows all of the members that the chain does not tell")


def sleeper_goes_on_where_no_quorum_signs() -> None:
    """Who slept goes on also when a liar will not sign that the epoch is over."""
    wanted = options(
        4,
        (0, 1, 2),
        byzantine=((3, "false_checkpoint"),),
        faults=(_alone(2, 2_500),),
        requests=(0, 1) * 60,
    )
    world = run(_slow(wanted, request_count=120, retained_batches_max=1))
    expect(not world.chain.changes, "two of four signed the end")
    expect(world.counters["epoch_passed_over"] == 1, "it gave up its epoch")
    expect(world.nodes[2].config.epoch == 1, "it is in the last epoch")


def new_members_can_begin() -> None:
    """A cluster shrinks to a member that slept: what leads it to the new epoch is kept."""
    for epochs in (((2,),), ((0, 1, 2, 3), (0, 1, 2), (2,))):
        wanted = options(3, *epochs, faults=(_alone(2, 2_500),), requests=(0, 1) * 40)
        world = run(_slow(wanted, request_count=80, retained_batches_max=1))
        expect(world.nodes[2].is_member, "it is the only member")


MEMBER_SCENARIOS: tuple[Callable[[], None], ...] = (
    learner_copies_the_beginning,
    damaged_member_of_a_young_epoch_is_repaired,
    sleeper_goes_on_in_a_later_epoch,
    sleeper_goes_on_where_no_quorum_signs,
    new_members_can_begin,
)
