"""Calm runs in which the members change, for tests to disturb."""

from dataclasses import replace

from dataplane.simulation.membership import Change
from dataplane.simulation.options import Options, draw_options
from dataplane.simulation.trace import Trace
from dataplane.simulation.world import World, play

BASE = draw_options(2)


def options(n: int, *epochs: tuple[int, ...], seed: int = 1, **changes) -> Options:
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
        **changes.pop("limits", {}),
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
    """Return the world at the end; a broken promise is an error."""
    world, result = play(wanted, Trace())
    assert result.violation is None
    assert world.control_plane.newest.epoch == len(wanted.changes)
    return world
