"""Compliance modes: named sets of settings that a cluster holds to while a mode is on."""

from typing import Final

import msgspec
from blake3 import blake3

from dataplane.wire.audit import FORENSIC, FULL

_DAY_MS: Final = 86_400_000


class ModeRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a mode enforces.

    `level` and `retention_ms` are the least of the audit log; `key_lifetime_ms` is the longest that
    a new API key may live; `keeps_collections`: no collection with documents is dropped or made
    to expire, and no restore clears the cluster; `keeps_subjects`: a collection that names persons
    goes on to do so; `needs_encryption`: nodes encrypt their disks.
    """

    level: str
    retention_ms: int
    key_lifetime_ms: int
    keeps_collections: bool = False
    keeps_subjects: bool = False
    needs_encryption: bool = False


MODES: Final = {
    "gdpr": ModeRules(
        level=FULL,
        retention_ms=365 * _DAY_MS,
        key_lifetime_ms=365 * _DAY_MS,
        keeps_subjects=True,
        needs_encryption=True,
    ),
    "hipaa": ModeRules(
        level=FORENSIC,
        retention_ms=2_192 * _DAY_MS,
        key_lifetime_ms=180 * _DAY_MS,
        keeps_collections=True,
        needs_encryption=True,
    ),
    "pci-dss": ModeRules(
        level=FORENSIC,
        retention_ms=365 * _DAY_MS,
        key_lifetime_ms=90 * _DAY_MS,
        needs_encryption=True,
    ),
    "sox": ModeRules(
        level=FULL,
        retention_ms=2_557 * _DAY_MS,
        key_lifetime_ms=365 * _DAY_MS,
        keeps_collections=True,
    ),
}
"""In the order in which they are named when several refuse the same."""


def code_of(mode: str) -> str:
    """Return the code of refusals that a mode is the reason of."""
    return "compliance_" + mode.replace("-", "_")


def modes_payload(cluster_id: bytes, revision: int, modes: tuple[str, ...]) -> bytes:
    """Return what the control plane signs to turn modes off: what is left, and after what."""
    words = b"|".join(mode.encode() for mode in modes)
    head = b"AEROL1|COMPLIANCE|" + cluster_id + revision.to_bytes(8, "big")
    return blake3(head + words).digest()
