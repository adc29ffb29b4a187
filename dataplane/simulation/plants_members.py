"""Bugs planted into the change of members."""

from collections.abc import Callable

from dataplane.consensus import evidence, signatures, state, verification, view_verification
from dataplane.consensus.catch_up import CatchUp
from dataplane.consensus.config import MemberKeys
from dataplane.consensus.ending import Ending
from dataplane.consensus.messages import (
    CheckpointCertificate,
    Committed,
    CommittedEntry,
    FetchCommitted,
    vote_payload,
)
from dataplane.consensus.ordering import Ordering
from dataplane.consensus.state import ReplicaState
from dataplane.documents.types import Configuration
from dataplane.replication import copying
from dataplane.replication.passed_over import PassedOver
from dataplane.simulation import node
from dataplane.simulation.chain import Chain
from dataplane.simulation.planting import Patch


def no_alpha() -> list[Patch]:
    """Proposals are accepted beyond the pipeline and beyond the end of the epoch."""

    def high(self: ReplicaState) -> int:
        return self.stable + self.config.limits.window

    return [
        (ReplicaState, "high", property(high)),
        (Ordering, "_reach", lambda self: self._state.high),
    ]


def epoch_not_in_signature() -> list[Patch]:
    """A vote's signature says nothing of the epoch that it is of."""

    def timeless(
        kind: bytes, cluster_id: bytes, *, epoch: int, view: int, sequence: int, digest: bytes
    ) -> bytes:
        del epoch
        return vote_payload(kind, cluster_id, epoch=0, view=view, sequence=sequence, digest=digest)

    modules = (state, signatures, verification, view_verification, evidence)
    return [(module, "vote_payload", timeless) for module in modules]


def old_members_go_on() -> list[Patch]:
    """Votes of those who were members of the epoch before count in the next."""
    real = node.member_keys
    seen: set[MemberKeys] = set()

    def member_keys(configuration: Configuration) -> tuple[MemberKeys, ...]:
        if configuration.epoch == 0:
            seen.clear()
        seen.update(real(configuration))
        return tuple(sorted(seen, key=lambda known: known.replica_id))

    return [(node, "member_keys", member_keys)]


def fetched_across_epochs() -> list[Patch]:
    """A laggard is answered with batches of the next epoch, which it cannot check."""

    def on_fetch(self: CatchUp, sender: int, message: FetchCommitted) -> None:
        entries: list[CommittedEntry] = []
        for sequence in range(message.first, message.last + 1):
            entry = self._state.archive.get(sequence)
            if entry is None or len(entries) >= self._state.config.limits.fetch_batches_max:
                break
            entries.append(entry)
        if entries:
            self._state.send(sender, Committed(tuple(entries)))

    return [(CatchUp, "on_fetch", on_fetch)]


def learner_waits_for_batches() -> list[Patch]:
    """A node that joins in a later epoch asks for batches that it cannot check."""
    return [(ReplicaState, "precedes_epoch", property(lambda self: False))]


def beginning_unsigned() -> list[Patch]:
    """The members of an epoch do not sign the state that it begins with."""
    return [
        (copying, "base_root", lambda executor, config: None),
        (node, "base_root", lambda executor, config: None),
    ]


def epoch_never_given_up() -> list[Patch]:
    """A node stays in its epoch, also when nothing leads to its end any more."""
    return [(PassedOver, "where_to", lambda self, current, replica, now_ms: None)]


def quorum_must_sign_the_end() -> list[Patch]:
    """Who slept believes that its epoch is over only when a quorum of its members signed that."""
    return [(Chain, "following", lambda self, epoch: self.changes[epoch:])]


def way_to_the_end_forgotten() -> list[Patch]:
    """A new epoch drops what leads there before its own beginning is certified."""

    def superseded(self: ReplicaState) -> int:
        return min(self.executed, max(self.stable, self.executed - self.config.limits.window))

    def certificate_of(self: ReplicaState, epoch: int) -> CheckpointCertificate | None:
        return self.stable_certificate if epoch == self.config.epoch else None

    return [
        (ReplicaState, "superseded", property(superseded)),
        (ReplicaState, "certificate_of", certificate_of),
    ]


def epoch_left_without_proofs() -> list[Patch]:
    """Who executed the last batch of an epoch leaves, whatever certificates a crash took."""
    return [(Ending, "_others_left", lambda self: True)]


MEMBER_PLANTS: dict[str, Callable[[], list[Patch]]] = {
    plant.__name__: plant
    for plant in (
        no_alpha,
        epoch_not_in_signature,
        old_members_go_on,
        fetched_across_epochs,
        learner_waits_for_batches,
        beginning_unsigned,
        epoch_left_without_proofs,
        epoch_never_given_up,
        quorum_must_sign_the_end,
        way_to_the_end_forgotten,
    )
}
