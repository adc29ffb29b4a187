"""Carrying out the effects of a state transfer; the driver and the simulator share it."""

from collections.abc import Callable

from dataplane.consensus.config import Limits, ReplicaConfig
from dataplane.consensus.messages import Request
from dataplane.consensus.outcome import (
    CopyBegin,
    CopyEffect,
    CopyInstall,
    CopyServe,
    CopyStage,
    Installed,
    Send,
)
from dataplane.consensus.records import Recovered
from dataplane.consensus.replica import Replica
from dataplane.documents.types import Executor


def carry_out_copy(
    effect: CopyEffect, executor: Executor, replica: Replica, *, limits: Limits, now_ms: int
) -> Send | None:
    """Carry out an effect and tell the core; return what is to be sent."""
    copies = executor.copies
    match effect:
        case CopyBegin(certificate=target):
            wanted = copies.begin(target.sequence, target.root, is_fresh=effect.is_fresh)
            replica.on_wanted(now_ms, wanted)
        case CopyStage():
            replica.on_wanted(now_ms, copies.stage(effect))
        case CopyInstall(certificate=target):
            is_whole = copies.install(target.sequence, target.root)
            ends_at = epoch_end(executor, target.epoch, target.sequence)
            replica.on_installed(now_ms, Installed(is_whole, ends_at, _is_answered(executor)))
        case CopyServe():
            may_rewind = effect.is_certified
            answer = copies.serve(effect.question, limits, now_ms, may_rewind=may_rewind)
            return Send(effect.to, answer)
    return None


def _is_answered(executor: Executor) -> Callable[[Request], bool]:
    return lambda request: executor.recorded(request) is not None


def epoch_end(executor: Executor, epoch: int, sequence: int) -> int | None:
    """Return where the epoch ends, once the state knows it: at `sequence` if the next began there.

    `sequence` is what the state is of.
    """
    known = executor.configuration
    return known.ends_at if known.epoch == epoch else sequence


def base_root(executor: Executor, config: ReplicaConfig) -> bytes | None:
    """Return the root of the state that the epoch began with, and keep that state for peers.

    None for the first epoch, which begins with what every node was given, and where it is gone.
    """
    if not config.base or executor.applied < config.base:
        return None
    if executor.applied == config.base:
        return checkpoint_root(executor)
    return executor.copies.root_at(config.base)


def begun(executor: Executor, config: ReplicaConfig) -> Recovered:
    """Return what a replica knows that just came from the end of the epoch before."""
    return Recovered(applied=executor.applied, base_root=base_root(executor, config))


def checkpoint_root(executor: Executor) -> bytes:
    """Return the root of a checkpoint just reached, and keep its state for peers."""
    root = executor.root()
    executor.copies.mark(executor.applied, root)
    return root
