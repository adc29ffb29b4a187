"""Carrying out the effects of a state transfer; the driver and the simulator share it."""

from dataplane.consensus.config import Limits
from dataplane.consensus.outcome import (
    CopyBegin,
    CopyEffect,
    CopyInstall,
    CopyServe,
    CopyStage,
    Send,
)
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
            following = executor.configuration
            is_over = following.epoch != target.epoch
            ends_at = target.sequence if is_over else following.ends_at
            replica.on_installed(now_ms, is_whole=is_whole, ends_at=ends_at)
        case CopyServe():
            may_rewind = effect.is_certified
            answer = copies.serve(effect.question, limits, now_ms, may_rewind=may_rewind)
            return Send(effect.to, answer)
    return None


def checkpoint_root(executor: Executor) -> bytes:
    """Return the root of a checkpoint just reached, and keep its state for peers."""
    root = executor.root()
    executor.copies.mark(executor.applied, root)
    return root
