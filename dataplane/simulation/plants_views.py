"""Bugs planted into the change of the view."""

from collections.abc import Callable, Sequence

from msgspec.structs import replace

from dataplane.consensus import new_view, view_change, view_verification
from dataplane.consensus.config import ReplicaConfig, Verifier
from dataplane.consensus.messages import (
    AnyMessage,
    NewView,
    TimeoutCertificate,
    ViewChange,
    view_change_payload,
)
from dataplane.consensus.new_view import Selection
from dataplane.consensus.ordering import Ordering
from dataplane.consensus.records import Recovered, ViewEntered, ViewLeft, recover
from dataplane.consensus.state import ReplicaState
from dataplane.consensus.suspicion import Suspicion
from dataplane.consensus.verification import verify_message
from dataplane.consensus.view_change import ViewChanges
from dataplane.simulation import node
from dataplane.simulation.planting import Patch
from dataplane.wire.quorum import faults_tolerated, quorum_size


def view_change_without_proofs() -> list[Patch]:
    """A ViewChange tells nothing of what was prepared."""
    real = ViewChanges._signed_change  # noqa: SLF001 - planted into the private parts

    def signed_change(self: ViewChanges, certificate: TimeoutCertificate) -> ViewChange:
        state = self._state
        change = replace(real(self, certificate), prepared=())
        payload = view_change_payload(state.config.cluster_id, change)
        return replace(change, sig=state.signer.sign(payload))

    return [(ViewChanges, "_signed_change", signed_change)]


def lowest_view_carried() -> list[Patch]:
    """A new view carries the proof of the lowest view instead of the highest."""
    real = new_view.select

    def select(changes: Sequence[ViewChange], base: int) -> Selection | None:
        highest = max((p.view for c in changes for p in c.prepared), default=0)
        turned = [
            replace(
                change,
                prepared=tuple(replace(p, view=highest - p.view) for p in change.prepared),
            )
            for change in changes
        ]
        return real(turned, base)

    return [
        (new_view, "select", select),
        (view_change, "select", select),
        (view_verification, "select", select),
    ]


def proof_dropped_at_execution() -> list[Patch]:
    """A replica forgets what it prepared as soon as it executed it."""
    real = Ordering.request_execution

    def request_execution(self: Ordering) -> None:
        real(self)
        for sequence, slot in self._state.slots.items():
            if sequence <= self._state.requested:
                slot.proof = None

    return [(Ordering, "request_execution", request_execution)]


def one_suspect_is_enough() -> list[Patch]:
    """A single suspicion is a timeout certificate."""
    return [(ReplicaConfig, "blocking", property(lambda self: 1))]


def weak_suspicion_is_enough() -> list[Patch]:
    """f+1 suspicions are a timeout certificate."""
    return [(ReplicaConfig, "blocking", property(lambda self: faults_tolerated(self.n) + 1))]


def leave_without_certificate() -> list[Patch]:
    """A replica that suspects its primary leaves the view on its own."""

    def suspect(self: ViewChanges, now_ms: int, cause: str) -> None:
        del cause
        state = self._state
        self.on_timeout(TimeoutCertificate(state.config.epoch, state.view, ()), now_ms)

    return [(ViewChanges, "suspect", suspect)]


def vote_before_new_view() -> list[Patch]:
    """A replica votes in a view as soon as the one before is left, NewView or not."""

    def stay(self: ReplicaState, value: object) -> None:
        del self, value

    return [(ReplicaState, "active", property(lambda self: True, stay))]


def view_change_not_persisted() -> list[Patch]:
    """A ViewChange leaves before it is on disk."""
    real = ReplicaState.persist_view

    def persist_view(
        self: ReplicaState, record: ViewLeft | ViewEntered, then: Callable[[int], None]
    ) -> int:
        real(self, record, then)
        return 0

    return [(ReplicaState, "persist_view", persist_view)]


def forget_view_on_restart() -> list[Patch]:
    """A restart begins in view 0 again."""

    def amnesia(
        records: list[bytes], applied: int, root: bytes | None, *, epoch: int, ends_at: int | None
    ) -> Recovered:
        known = recover(records, applied, root, epoch=epoch, ends_at=ends_at)
        known.left = known.entered = None
        return known

    return [(node, "recover", amnesia)]


def new_view_of_fewer() -> list[Patch]:
    """A new view begins with one ViewChange less than a quorum."""
    real = ViewChanges._begin  # noqa: SLF001 - planted into the private parts

    def begin(self: ViewChanges, changes: tuple[ViewChange, ...], now_ms: int) -> None:
        real(self, changes[:-1], now_ms)

    def verify(message: AnyMessage, sender: int, config: ReplicaConfig, verifier: Verifier) -> bool:
        if isinstance(message, NewView):
            return len(message.changes) >= quorum_size(config.n) - 1
        return verify_message(message, sender, config, verifier)

    return [(ViewChanges, "_begin", begin), (node, "verify_message", verify)]


def nobody_suspects() -> list[Patch]:
    """A replica trusts its primary for ever."""
    return [(Suspicion, "cause", lambda self, now_ms, *, busy: None)]


VIEW_PLANTS: dict[str, Callable[[], list[Patch]]] = {
    plant.__name__: plant
    for plant in (
        view_change_without_proofs,
        lowest_view_carried,
        proof_dropped_at_execution,
        one_suspect_is_enough,
        weak_suspicion_is_enough,
        leave_without_certificate,
        vote_before_new_view,
        view_change_not_persisted,
        forget_view_on_restart,
        new_view_of_fewer,
        nobody_suspects,
    )
}
