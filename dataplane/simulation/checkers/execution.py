"""Agreement, no gaps, equal roots, exactly once."""

from typing import TYPE_CHECKING, override

from dataplane.consensus.messages import CheckpointCertificate, digest_of, encode_batch
from dataplane.simulation.checkers.checker import Checker, Executed
from dataplane.simulation.options import Options

if TYPE_CHECKING:
    from dataplane.simulation.node import Node


class Agreement(Checker):
    """One batch per sequence, for all honest replicas and all time; executed without gaps."""

    name = "agreement"

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._decided: dict[int, bytes] = {}
        self._results: dict[int, tuple[bytes, ...]] = {}
        self._roots: dict[int, bytes] = {}
        self._applied: dict[int, int] = {}

    @override
    def on_start(self, node: "Node") -> None:
        self._applied[node.id] = node.executor.applied

    @override
    def on_execute(self, node: "Node", executed: Executed) -> None:
        sequence = executed.sequence
        if sequence != self._applied[node.id] + 1:
            self.fail(f"node {node.id} executed {sequence} after {self._applied[node.id]}")
        self._applied[node.id] = sequence
        digest = digest_of(encode_batch(executed.batch))
        if self._decided.setdefault(sequence, digest) != digest:
            self.fail(f"two batches at {sequence}, the second at node {node.id}")
        if node.is_damaged:
            return
        digests = tuple(result.digest for result in executed.results)
        if self._results.setdefault(sequence, digests) != digests:
            self.fail(f"other results at {sequence} at node {node.id}")
        root = executed.root
        if root is not None and self._roots.setdefault(sequence, root) != root:
            self.fail(f"another root at {sequence} at node {node.id}")

    @override
    def on_installed(self, node: "Node", certificate: CheckpointCertificate) -> None:
        sequence = certificate.sequence
        root = self._roots.setdefault(sequence, certificate.root)
        if root != certificate.root:
            self.fail(f"node {node.id} believes another root at {sequence}")
        if not node.is_damaged and node.hashed_anew() != root:
            self.fail(f"node {node.id} put a state in place that is not the one at {sequence}")
        self._applied[node.id] = certificate.sequence


class ExactlyOnce(Checker):
    """A request takes effect at one sequence, however often it was sent, lost and ordered."""

    name = "exactly_once"

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
