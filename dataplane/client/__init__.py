"""The door to a cluster, for users and for the portal."""

from dataplane.client.aio import AsyncClient
from dataplane.client.anchors import TrustAnchor
from dataplane.client.audit import ProvenAudit, verify_audit, verify_erasure
from dataplane.client.client import Client
from dataplane.client.errors import (
    AnchorError,
    ApiError,
    ClientError,
    ClusterUnreachableError,
    EvidenceError,
    OutboxError,
    OutboxFullError,
    ProofError,
    SpecError,
)
from dataplane.client.evidence import Equivocation, verify_evidence
from dataplane.client.outbox import AsyncOutbox, FlushReport, Outbox
from dataplane.client.proofs import Proven, verify_answer, verify_proof

__all__ = [
    "AnchorError",
    "ApiError",
    "AsyncClient",
    "AsyncOutbox",
    "Client",
    "ClientError",
    "ClusterUnreachableError",
    "Equivocation",
    "EvidenceError",
    "FlushReport",
    "Outbox",
    "OutboxError",
    "OutboxFullError",
    "ProofError",
    "Proven",
    "ProvenAudit",
    "SpecError",
    "TrustAnchor",
    "verify_answer",
    "verify_audit",
    "verify_erasure",
    "verify_evidence",
    "verify_proof",
]
