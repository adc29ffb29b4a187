"""The door to a cluster, for users and for the portal."""

from dataplane.client.aio import AsyncClient
from dataplane.client.anchors import TrustAnchor
from dataplane.client.client import Client
from dataplane.client.errors import (
    AnchorError,
    ApiError,
    ClientError,
    ClusterUnreachableError,
    EvidenceError,
    ProofError,
    SpecError,
)
from dataplane.client.evidence import Equivocation, verify_evidence
from dataplane.client.proofs import Proven, verify_answer, verify_proof

__all__ = [
    "AnchorError",
    "ApiError",
    "AsyncClient",
    "Client",
    "ClientError",
    "ClusterUnreachableError",
    "Equivocation",
    "EvidenceError",
    "ProofError",
    "Proven",
    "SpecError",
    "TrustAnchor",
    "verify_answer",
    "verify_evidence",
    "verify_proof",
]
