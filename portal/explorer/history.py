"""The history of a document as a page shows it, and what is different between two versions."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from dataplane.client.client import Client
from dataplane.client.errors import ApiError
from dataplane.client.field_differences import differences, is_same, own_fields
from portal.audit.models import AuditEvent
from portal.clusters.models import ApiKey, Cluster
from portal.explorer.constants import HISTORY_COUNT
from portal.explorer.documents import pretty
from portal.explorer.types import Document

DIFFERENCES_SHOWN = 200
CHANGES_SHOWN = 4
EVENTS_LOOKED_AT = 500
PLACE = re.compile(r"\d{1,18}-\d{1,9}", re.ASCII)
CLOCKS_APART = timedelta(minutes=5)
_NOT_FOUND = 404
_WORDS = {
    "insert": "Created",
    "replace": "Replaced",
    "update": "Changed",
    "delete": "Deleted",
    "erase": "Erased with a person",
}


@dataclass(slots=True)
class Version:
    """A version as a row of the timeline."""

    place: str
    operation: str
    number: int
    at: datetime
    actor: str | None
    changed: list[dict[str, str]]
    changed_count: int
    document: Document | None
    is_present: bool = False
    """It is what the document is now."""
    is_equal: bool = False
    """It has the fields that the document has now, so putting it back changes nothing."""
    who: str = ""

    @property
    def order(self) -> tuple[int, int]:
        """Where in the log it stands."""
        sequence, _, position = self.place.partition("-")
        return int(sequence), int(position)

    @property
    def words(self) -> str:
        """What happened."""
        return _WORDS.get(self.operation, self.operation)

    @property
    def more_count(self) -> int:
        """How many changed fields the row leaves out."""
        return self.changed_count - len(self.changed)


@dataclass(frozen=True, slots=True)
class Field:
    """One field that differs."""

    path: str
    kind: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two versions side by side; `old` or `new` without a document is a deleted one."""

    old: Version
    new: Version
    fields: list[Field]
    left_out: int


@dataclass(slots=True)
class History:
    """All that the page shows."""

    versions: list[Version]
    next: str | None
    begins: dict[str, Any] | None
    hours: int
    present: Document | None
    comparison: Comparison | None = None
    missing: list[str] = field(default_factory=list)
    """Places that were asked for and are forgotten."""

    @property
    def present_version(self) -> int | None:
        """The version to be overwritten by a version that is put back."""
        number = None if self.present is None else self.present.get("_version")
        return number if isinstance(number, int) else None


def history_shown(
    client: Client,
    place: tuple[str, str],
    *,
    before: str | None,
    compared: Sequence[str],
) -> History:
    """Ask the cluster for a page of versions, the present one, and those to be compared."""
    present: Document | None = None
    with _absence_allowed():
        present = client.get(*place)
    page = client.history_page(*place, before=before, limit=HISTORY_COUNT)
    versions = [_version(item) for item in page["versions"]]
    if before is None and versions and versions[0].document is not None:
        versions[0].is_present = present is not None
    shown = History(versions, page["next"], page["begins"], page["retention"]["hours"], present)
    _compare(client, place, shown, compared)
    if present is not None:
        now = own_fields(present)
        for version in versions:
            document = version.document
            version.is_equal = document is not None and is_same(own_fields(document), now)
    return shown


def version_get(client: Client, place: tuple[str, str], version_place: str) -> Version | None:
    """Return one version, None when it is forgotten, or never was."""
    if PLACE.fullmatch(version_place) is None:
        return None
    sequence, _, position = version_place.partition("-")
    page: dict[str, Any] = {"versions": []}
    with _absence_allowed():
        page = client.history_page(*place, before=f"{sequence}-{int(position) + 1}", limit=1)
    found = [_version(item) for item in page["versions"] if item["place"] == version_place]
    return found[0] if found else None


def people_named(cluster: Cluster, place: tuple[str, str], versions: Sequence[Version]) -> None:
    """Write beside the versions who made them: from the activity log, or the name of the key.

    The portal writes with one key of its own, so only its activity log knows for whom. Two queries.
    """
    if not versions:
        return
    events = AuditEvent.objects.filter(
        target_type="document",
        target_id=str(cluster.pk),
        after__collection=place[0],
        after__id=place[1],
        at__gte=versions[-1].at - CLOCKS_APART,
    )
    labels: dict[tuple[bool, int], str] = {}
    for event in events[:EVENTS_LOOKED_AT]:
        number = (event.after or {}).get("version")
        if isinstance(number, int):
            labels[event.action == "document.deleted", number] = event.actor_label
    ids = {version.actor for version in versions if version.actor is not None}
    keys = dict(
        ApiKey.objects.filter(cluster=cluster, key_id__in=ids).values_list("key_id", "name")
    )
    for version in versions:
        label = labels.get((version.operation == "delete", version.number))
        if label is None and version.actor is not None:
            name = keys.get(version.actor)
            label = f"key {version.actor[:8]}…" if name is None else f"key {name}"
        version.who = label or ""


def _compare(
    client: Client, place: tuple[str, str], shown: History, compared: Sequence[str]
) -> None:
    """Compare the two versions that are asked for, the older first; or the newest two."""
    known = {version.place: version for version in shown.versions}
    chosen: list[Version] = []
    for version_place in compared[:2]:
        version = known.get(version_place) or version_get(client, place, version_place)
        if version is None:
            shown.missing.append(version_place)
        else:
            chosen.append(version)
    if not compared:
        chosen = shown.versions[:2]
    if len(chosen) == 2:
        old, new = sorted(chosen, key=lambda version: version.order)
        shown.comparison = _comparison(old, new)


def _comparison(old: Version, new: Version) -> Comparison:
    found = differences(old.document or {}, new.document or {})
    fields = [
        Field(
            item.pointer,
            item.kind,
            _text(item.kind, "added", item.before),
            _text(item.kind, "removed", item.after),
        )
        for item in islice(found, DIFFERENCES_SHOWN)
    ]
    return Comparison(old, new, fields, sum(1 for _ in found))


def _text(kind: str, without: str, value: Any) -> str:
    """Return one side of a difference; where the field is not there, nothing."""
    return "" if kind == without else pretty(value)


def _version(item: dict[str, Any]) -> Version:
    changed = item["changed"] or []
    return Version(
        place=item["place"],
        operation=item["operation"],
        number=item["version"],
        at=datetime.fromisoformat(item["time"]),
        actor=item["actor"],
        changed=changed[:CHANGES_SHOWN],
        changed_count=item["changed_count"] or 0,
        document=item["document"],
    )


@contextmanager
def _absence_allowed() -> Iterator[None]:
    """Go on when the cluster answers that there is no such document."""
    try:
        yield
    except ApiError as error:
        if error.status != _NOT_FOUND:
            raise
