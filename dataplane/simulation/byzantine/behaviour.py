"""What every liar has: its own key, and what it agreed with the other liars."""

from collections.abc import Iterable
from random import Random

import msgspec

from dataplane.consensus.config import Signer
from dataplane.consensus.messages import (
    AnyMessage,
    Checkpoint,
    Commit,
    Prepare,
    PrePrepare,
    checkpoint_payload,
    digest_of,
    vote_payload,
)
from dataplane.wire.quorum import faults_tolerated

SEQUENCES_REMEMBERED = 10_000
"""A liar among real nodes lives long; what it forgets it tells the truth about."""
KINDS = {PrePrepare: b"PP", Prepare: b"P", Commit: b"C"}


class Conspiracy:
    """What the liars of one world share."""

    def __init__(self, cluster_id: bytes, rng: Random, liars: frozenset[int], n: int) -> None:
        self.cluster_id = cluster_id
        self.rng = rng
        self.liars = liars
        self.n = n
        self.digests: dict[int, set[bytes]] = {}

    @property
    def f(self) -> int:
        """How many liars the cluster bears."""
        return faults_tolerated(self.n)

    def learn(self, message: PrePrepare | Prepare | Commit) -> None:
        """Remember a digest that is about."""
        self.digests.setdefault(message.sequence, set()).add(message.digest)
        if len(self.digests) > SEQUENCES_REMEMBERED:
            del self.digests[next(iter(self.digests))]

    def side_of(self, replica: int) -> int:
        """Return which of two stories a replica is told."""
        return replica % 2


class Behaviour:
    """Passes everything on; attacks override `outgoing`."""

    def __init__(self, signer: Signer, conspiracy: Conspiracy) -> None:
        self._signer = signer
        self.conspiracy = conspiracy

    def outgoing(self, to: int, message: AnyMessage) -> Iterable[AnyMessage]:
        """Return what is really sent to a replica instead of `message`."""
        del to
        return (message,)

    def resigned[V: (PrePrepare, Prepare, Commit)](self, vote: V, **changes: object) -> V:
        """Return the vote with changes under this liar's own signature."""
        changed = msgspec.structs.replace(vote, **changes)
        payload = vote_payload(
            KINDS[type(changed)],
            self.conspiracy.cluster_id,
            epoch=changed.epoch,
            view=changed.view,
            sequence=changed.sequence,
            digest=changed.digest,
        )
        return msgspec.structs.replace(changed, sig=self._signer.sign(payload))

    def revoted(self, vote: Prepare | Commit, **changes: object) -> Prepare | Commit:
        """Return a vote of either phase with changes under this liar's own signature."""
        if isinstance(vote, Prepare):
            return self.resigned(vote, **changes)
        return self.resigned(vote, **changes)

    def recheckpointed(self, vote: Checkpoint) -> Checkpoint:
        """Return the checkpoint with another root."""
        root = digest_of(b"false" + vote.root)
        payload = checkpoint_payload(
            self.conspiracy.cluster_id, epoch=vote.epoch, sequence=vote.sequence, root=root
        )
        return msgspec.structs.replace(vote, root=root, sig=self._signer.sign(payload))
