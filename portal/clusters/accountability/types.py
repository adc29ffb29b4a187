"""What a node answers about evidence, as far as the portal reads it."""

from datetime import datetime

import msgspec

from dataplane.client.evidence import EvidenceDocument


class EvidenceItem(msgspec.Struct, frozen=True):
    """A proof, and when that node says it got it."""

    proof: EvidenceDocument
    seen: datetime


class EvidenceAnswer(msgspec.Struct, frozen=True):
    """One page of a node's proofs, in the order in which it got them."""

    node_id: int
    count: int
    results: list[EvidenceItem]
