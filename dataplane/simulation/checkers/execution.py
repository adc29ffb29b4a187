"""Agreement, order, equal roots, exactly once."""

from typing import TYPE_CHECKING, override

from dataplane.consensus.messages import CheckpointCertificate, digest_of, encode_batch
from dataplane.consensus.records import Decided, MadeStable, Prepared, Record
from dataplane.simulation.checkers.checker import Checker, Executed
from dataplane.simulation.options import Options

if TYPE_CHECKING:
    from dataplane.simulation.node import Node


MUST_NOT_BE = ("diverged", "root_changed", "state_damaged", "copy_damaged")
"""What only a node may say whose state was damaged."""


class Agreement(Checker):
    """One batch and one result per sequence, whatever the view and the epoch, for all time."""

    name = "agreement"
    invariant = "I1"

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._decided: dict[int, bytes] = {}
        self._results: dict[int, tuple[bytes, ...]] = {}

    def _decide(self, node: "Node", sequence: int, digest: bytes) -> None:
        if self._decided.setdefault(sequence, digest) != digest:
            self.fail(f"two batches at {sequence}, the second at node {node.id}")

    @override
    def on_persist(self, node: "Node", record: Record) -> None:
        if isinstance(record, Decided):
            proof = record.certificate
            self._decide(node, proof.sequence, proof.digest)

    @override
    def on_execute(self, node: "Node", executed: Executed) -> None:
        sequence = executed.sequence
        digest = digest_of(encode_batch(executed.batch))
        self._decide(node, sequence, digest)
        if node.kept.is_damaged:
            return
        digests = tuple(result.digest for result in executed.results)
        if self._results.setdefault(sequence, digests) != digests:
            self.fail(f"other results at {sequence} at node {node.id}")

    @override
    def on_alarm(self, node: "Node", code: str, detail: str) -> None:
        if code == "forked":
            self.fail(f"node {node.id} says {code}: {detail}")


class PreparedOnce(Checker):
    """No two honest replicas prepare different batches for one slot of one view."""

    name = "prepared_once"
    invariant = "I2"

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._prepared: dict[tuple[int, int, int], bytes] = {}

    @override
    def on_persist(self, node: "Node", record: Record) -> None:
        if isinstance(record, Prepared):
            vote = record.vote
            key = (vote.epoch, vote.view, vote.sequence)
            if self._prepared.setdefault(key, vote.digest) != vote.digest:
                self.fail(f"node {node.id} prepared another batch at {vote.sequence}")


class ExecutionOrder(Checker):
    """Batches are executed one after the other, each once; nothing unexecuted is stable."""

    name = "execution_order"
    invariant = "I3"

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._applied: dict[int, int] = {}

    @override
    def on_start(self, node: "Node") -> None:
        self._applied[node.id] = node.executor.applied

    @override
    def on_execute(self, node: "Node", executed: Executed) -> None:
        if executed.sequence != self._applied[node.id] + 1:
            self.fail(f"node {node.id} executed {executed.sequence} after {self._applied[node.id]}")
        self._applied[node.id] = executed.sequence

    @override
    def on_installed(self, node: "Node", certificate: CheckpointCertificate) -> None:
        self._applied[node.id] = certificate.sequence

    @override
    def on_stable(self, node: "Node", certificate: CheckpointCertificate) -> None:
        if certificate.sequence > node.executor.applied:
            self.fail(f"node {node.id} made {certificate.sequence} stable before executing it")


class Roots(Checker):
    """Equal sequences have equal roots; the certified one is the honest one and a copy's."""

    name = "roots"
    invariant = "I9"

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._roots: dict[int, bytes] = {}

    def _compare(self, node: "Node", sequence: int, root: bytes) -> None:
        if self._roots.setdefault(sequence, root) != root:
            self.fail(f"another root at {sequence} at node {node.id}")

    @override
    def on_execute(self, node: "Node", executed: Executed) -> None:
        if executed.root is not None and not node.kept.is_damaged:
            self._compare(node, executed.sequence, executed.root)

    @override
    def on_persist(self, node: "Node", record: Record) -> None:
        if isinstance(record, MadeStable):
            self._compare(node, record.certificate.sequence, record.certificate.root)

    @override
    def on_installed(self, node: "Node", certificate: CheckpointCertificate) -> None:
        self._compare(node, certificate.sequence, certificate.root)
        if not node.kept.is_damaged and node.kept.hashed_anew() != certificate.root:
            self.fail(f"node {node.id} put a state in place that is not {certificate.sequence}")

    @override
    def on_alarm(self, node: "Node", code: str, detail: str) -> None:
        if code in MUST_NOT_BE and not node.kept.was_damaged:
            self.fail(f"node {node.id} says {code}: {detail}")


class ExactlyOnce(Checker):
    """A request takes effect at one sequence, however often it was sent, lost and ordered."""

    name = "exactly_once"
    invariant = "I8"

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._effects: dict[tuple[bytes, bytes, int], int] = {}

    @override
    def on_execute(self, node: "Node", executed: Executed) -> None:
        sequence = executed.sequence
        for request, result in zip(executed.batch.requests, executed.results, strict=True):
            if result.status != "ok" or result.sequence != sequence or request.cseq == 0:
                continue
            first = self._effects.setdefault(request.key, sequence)
            if first != sequence:
                self.fail(f"request {request.cseq} took effect at {first} and at {sequence}")
