"""Whether a node that starts at the very end of an epoch is still needed in it."""

from collections.abc import Iterable

from dataplane.consensus.records import recover
from dataplane.documents.types import Configuration


def epoch_to_finish(
    known: Configuration, applied: int, node_id: int, records: Iterable[bytes]
) -> Configuration | None:
    """Return the epoch before, if its last batch is the newest here and proofs of it are lost.

    A crash took certificates and left their batches in the state. The other members may be no
    quorum that decides those again without this one (`consensus.ending`). Who voted in the next
    epoch already came there with every proof, or waited long enough.
    """
    before = known.before
    if before is None or applied != known.base:
        return None
    if node_id not in {member.id for member in before.members}:
        return None
    log = recover(records, applied, epoch=before.epoch)
    if log.closed or log.later_epoch:
        return None
    proven = before.base if log.stable is None else log.stable.sequence
    lost = [s for s in log.prepared if proven < s <= applied and s not in log.decided]
    return before if lost else None
