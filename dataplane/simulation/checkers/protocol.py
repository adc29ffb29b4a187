"""Certificates with distinct signers, watermarks, bounds, and no honest replica accused."""

from typing import TYPE_CHECKING, override

from dataplane.consensus.evidence import proof_fault
from dataplane.consensus.messages import (
    CheckpointCertificate,
    checkpoint_payload,
    suspect_payload,
    vote_payload,
)
from dataplane.consensus.outcome import Evidence
from dataplane.consensus.records import Accepted, Decided, MadeStable, Prepared, Record, ViewLeft
from dataplane.simulation.checkers.checker import Checker
from dataplane.simulation.options import Options
from dataplane.simulation.signatures import FakeVerifier, signer_of

if TYPE_CHECKING:
    from dataplane.simulation.node import Node


class Certificates(Checker):
    """Every certificate an honest replica forms or takes has q distinct valid signers."""

    name = "certificates"
    invariant = "quorums"
    holds_beyond_model = True

    def _check(
        self,
        what: str,
        votes: tuple[tuple[int, bytes], ...],
        payload: bytes,
        *,
        epoch: int,
        least: int | None = None,
    ) -> None:
        members = self.options.members(epoch)
        needed = self.quorum(epoch) if least is None else least
        valid = {
            replica
            for replica, signature in votes
            if replica in members and signer_of("vote", replica).sign(payload) == signature
        }
        if len(valid) < needed:
            self.fail(f"{what} with {len(valid)} valid signers of {needed}")

    @override
    def on_persist(self, node: "Node", record: Record) -> None:
        cluster_id = node.config.cluster_id
        match record:
            case Prepared(vote=vote, proof=proof):
                signers = {node.config.primary(proof.view), *dict(proof.votes)}
                if len(signers) < self.quorum(vote.epoch):
                    self.fail(f"prepared {vote.sequence} at node {node.id} by {sorted(signers)}")
            case Decided(certificate=certificate):
                payload = vote_payload(
                    b"C",
                    cluster_id,
                    epoch=certificate.epoch,
                    view=certificate.view,
                    sequence=certificate.sequence,
                    digest=certificate.digest,
                )
                what, epoch = f"decision {certificate.sequence}", certificate.epoch
                self._check(what, certificate.votes, payload, epoch=epoch)
            case MadeStable(certificate=stable):
                payload = checkpoint_payload(
                    cluster_id, epoch=stable.epoch, sequence=stable.sequence, root=stable.root
                )
                what = f"checkpoint {stable.sequence}"
                self._check(what, stable.votes, payload, epoch=stable.epoch)
            case ViewLeft(change=change):
                end = change.timeout
                payload = suspect_payload(cluster_id, epoch=end.epoch, view=end.view)
                blocking = len(self.options.members(end.epoch)) - self.quorum(end.epoch) + 1
                what = f"end of view {end.view}"
                self._check(what, end.votes, payload, epoch=end.epoch, least=blocking)
            case _:
                pass


class Watermarks(Checker):
    """Nothing is voted for above H, more than ALPHA beyond execution, or beyond the epoch."""

    name = "watermarks"
    invariant = "I7"
    holds_beyond_model = True

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._stable: dict[int, int] = {}

    @override
    def on_durable(self, node: "Node", record: Record) -> None:
        if isinstance(record, MadeStable):
            self._raise(node, record.certificate.sequence)

    @override
    def on_stable(self, node: "Node", certificate: CheckpointCertificate) -> None:
        self._raise(node, certificate.sequence)

    def _raise(self, node: "Node", sequence: int) -> None:
        self._stable[node.id] = max(self._stable.get(node.id, 0), sequence)

    @override
    def on_persist(self, node: "Node", record: Record) -> None:
        if isinstance(record, MadeStable):
            self._raise(node, record.certificate.sequence)
        if not isinstance(record, Accepted):
            return
        limits, sequence = self.options.limits, record.pre_prepare.sequence
        if sequence > self._stable.get(node.id, 0) + limits.window:
            self.fail(f"node {node.id} accepted {sequence} above the high watermark")
        if sequence > node.executor.applied + limits.pipeline:
            self.fail(f"node {node.id} accepted {sequence} beyond the pipeline")
        known = node.executor.configuration
        ends_at = known.base if known.epoch > node.config.epoch else known.ends_at
        if ends_at is not None and sequence > ends_at and known.epoch >= node.config.epoch:
            self.fail(f"node {node.id} accepted {sequence} beyond the end of its epoch")

    @override
    def on_epoch(self, node: "Node") -> None:
        self._raise(node, node.config.base)

    @override
    def on_start(self, node: "Node") -> None:
        self._raise(node, node.config.base)


COPY_PARTS_MAX = 10_000


class Bounds(Checker):
    """No container of a replica grows without limit."""

    name = "bounds"
    invariant = "I11"
    holds_beyond_model = True

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        limits, most = options.limits, len(options.replicas)
        self._most = {
            "slots": 2 * limits.window,
            "early": 2 * limits.window,
            "pending": limits.pending_requests_max,
            "archive": max(limits.retained_batches_max, 3 * limits.window),
            "checkpoints": 2 * limits.window // limits.checkpoint_interval + 1,
            "evidence": limits.evidence_max,
            "peers": most,
            "carried": 2 * limits.window,
            "suspects": most,
            "view_changes": most,
            "copy_nodes": COPY_PARTS_MAX,
            "copy_rows": COPY_PARTS_MAX,
            "copy_asked": most,
            "in_flight": (2 * limits.window + 1) * limits.batch_ops_max,
        }

    @override
    def after_turn(self, node: "Node") -> None:
        if node.replica is None:
            return
        most = self._most
        for what, size in node.replica.sizes().items():
            if size > most[what]:
                self.fail(f"node {node.id} keeps {size} {what}, the limit is {most[what]}")


class NoHonestAccused(Checker):
    """Evidence and complaints name liars only, and evidence is what it claims to be."""

    name = "evidence"
    invariant = "I12"
    holds_beyond_model = True

    @override
    def on_evidence(self, node: "Node", evidence: Evidence) -> None:
        if evidence.replica not in self.options.liars:
            self.fail(f"node {node.id} accuses honest node {evidence.replica}")
        signer = signer_of("vote", evidence.replica)
        fault = proof_fault(
            evidence.proof, node.config.cluster_id, signer.public_key, FakeVerifier([signer])
        )
        if fault is not None:
            self.fail(f"evidence against {evidence.replica} proves nothing: {fault}")

    @override
    def on_peer_fault(self, node: "Node", culprit: "Node", detail: str) -> None:
        if not culprit.is_liar and not culprit.kept.was_damaged:
            self.fail(f"node {node.id} blames honest node {culprit.id}: {detail}")
