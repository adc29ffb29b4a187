"""What a node knows when it starts: from its log, and from the state it holds."""

from dataplane.consensus.config import ReplicaConfig
from dataplane.consensus.records import Recovered, recover
from dataplane.documents.types import Executor
from dataplane.replication.copying import base_root, checkpoint_root
from dataplane.storage.wal import WriteAheadLog


def recovered_from(
    wal: WriteAheadLog,
    executor: Executor,
    config: ReplicaConfig,
    known: tuple[int | None, str | None],
) -> Recovered:
    """Read what the log has of this epoch, and every decision it still holds.

    `known` is the epoch's end, once it is ordered, and why votes may be missing from the log. A
    state that stands at a checkpoint tells its root besides.
    """
    at_checkpoint = executor.applied % config.limits.checkpoint_interval == 0
    recovered = recover(
        (record for _, record in wal.replay()),
        executor.applied,
        checkpoint_root(executor) if at_checkpoint else None,
        epoch=config.epoch,
        ends_at=known[0],
    )
    if recovered.stable is None:
        recovered.base_root = base_root(executor, config)
    recovered.amnesia = known[1] is not None
    return recovered
