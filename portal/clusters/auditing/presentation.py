"""What the modes and levels mean, in words for pages."""

from dataclasses import dataclass
from typing import Any, Final

from dataplane.client.audit import ProvenAudit
from dataplane.client.errors import ProofError

_DAY_MS: Final = 86_400_000
DAYS_MAX: Final = 7_000

LEVEL_WORDS: Final = {
    "basic": "Orders of administrators, done or refused",
    "full": "Also every write of a document",
    "forensic": "Also reads, and digests before and after",
}
MODE_NAMES: Final = {"gdpr": "GDPR", "hipaa": "HIPAA", "pci-dss": "PCI DSS", "sox": "SOX"}
MODE_DUTIES: Final = {
    "gdpr": "a legal basis, answering persons in time, naming the field of persons, backups",
    "hipaa": "agreements with associates, who gets keys, reviewing the log",
    "pci-dss": "never storing what must not be stored, networks, daily reviews",
    "sox": "separation of duties, change control of your programs",
}
SETTING_WORDS: Final = {"level": "Level of the audit log", "retention_ms": "Records are kept"}


@dataclass(frozen=True, slots=True)
class ModeCard:
    """A mode as the settings page shows it."""

    code: str
    name: str
    is_on: bool
    enforces: list[str]
    duties: str


def mode_cards(modes: dict[str, Any]) -> list[ModeCard]:
    """Return every mode, with what it enforces in words."""
    return [
        ModeCard(
            code,
            MODE_NAMES.get(code, code),
            bool(rules["is_on"]),
            _enforced(rules),
            MODE_DUTIES.get(code, ""),
        )
        for code, rules in modes["catalogue"].items()
    ]


def _enforced(rules: dict[str, Any]) -> list[str]:
    words = [
        f"audit log at least {rules['level']}, kept {days(rules['retention_ms'])} days",
        f"new API keys end within {days(rules['key_lifetime_ms'])} days",
    ]
    if rules["needs_encryption"]:
        words.append("nodes encrypt their disks")
    if rules["keeps_collections"]:
        words.append("collections with documents are not dropped")
    if rules["keeps_subjects"]:
        words.append("fields that name persons stay named")
    return words


def days(duration_ms: int) -> int:
    """Return a duration in days."""
    return duration_ms // _DAY_MS


def settings_json(chain: dict[str, Any]) -> dict[str, Any]:
    """Print what the log records, and which of its records are kept."""
    return {
        "level": chain["level"],
        "retention_days": days(chain["retention_ms"]),
        "first": chain["first"],
        "last": chain["last"],
        "head": chain["head"],
    }


def proven_json(proven: ProvenAudit) -> dict[str, Any]:
    """Print what the newest records were checked for."""
    return {
        "proven": True,
        "fault": None,
        "records": proven.count,
        "first": proven.first,
        "last": proven.last,
        "whole": proven.is_whole,
        "sequence": proven.sequence,
        "epoch": proven.epoch,
        "signers": list(proven.signers),
        "validators": proven.validator_count,
    }


def fault_json(fault: ProofError) -> dict[str, Any]:
    """Print why nothing is proven."""
    return {"proven": False, "fault": {"code": fault.code, "detail": str(fault)}}


def modes_json(modes: dict[str, Any]) -> dict[str, Any]:
    """Print the compliance modes: which are on, and what each enforces and would change."""
    return {
        "modes": modes["modes"],
        "revision": modes["revision"],
        "catalogue": [
            {
                "mode": card.code,
                "name": card.name,
                "on": card.is_on,
                "enforces": card.enforces,
                "duties": card.duties,
            }
            for card in mode_cards(modes)
        ],
    }


def preview_json(asked: list[str], found: dict[str, Any]) -> dict[str, Any]:
    """Print what would change if these modes were on, and no others."""
    return {
        "dry_run": True,
        "modes": sorted(asked),
        "changes": [{**change, "words": change_words(change)} for change in found["changes"]],
        "keys_that_live_longer": found["keys_that_live_longer"],
        "collections_that_name_nobody": found["collections_that_name_nobody"],
    }


def change_words(change: dict[str, Any]) -> str:
    """Say what would change."""
    old, new = change["from"], change["to"]
    if change["setting"] == "retention_ms":
        old, new = f"{days(old)} days", f"{days(new)} days"
    return f"{SETTING_WORDS.get(change['setting'], change['setting'])}: {old} → {new}"
