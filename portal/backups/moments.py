"""Which state is to be restored: a backup, a sequence, a time, or that before an audit event."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from portal.backups.archiving import moment_find
from portal.backups.errors import MomentNotKept
from portal.backups.models import Backup
from portal.backups.selectors import backup_get
from portal.clusters.auditing.services import record_get
from portal.clusters.models import Cluster


@dataclass(frozen=True, slots=True)
class Point:
    """A state that can be restored, and the record of the audit log that it is just before."""

    backup: Backup
    to_sequence: int | None = None
    event: dict[str, Any] | None = None

    @property
    def before_event(self) -> int | None:
        """The number of the record."""
        return None if self.event is None else int(self.event["index"])

    @property
    def event_at(self) -> datetime | None:
        """When the event was decided."""
        if self.event is None:
            return None
        return datetime.fromtimestamp(int(self.event["at_ms"]) / 1000, UTC)

    @property
    def sequence(self) -> int:
        """The last sequence that is in it."""
        return (self.backup.sequence or 0) if self.to_sequence is None else self.to_sequence


def point_find(
    cluster: Cluster,
    *,
    backup: UUID | None = None,
    to_sequence: int | None = None,
    to_time: datetime | None = None,
    before_audit_event: int | None = None,
) -> Point:
    """Return the state that one of these names.

    The batch in which the event was decided is left out as a whole: what was decided together with
    it is not in the state either.

    Raises:
        NotFound: there is no such backup, or no such record.
        MomentNotKept: neither backups nor archive reach it.
        ArchiveDamaged: what was archived then is not what was stored.
        ClusterUnreachable: the audit log cannot be asked.
        StoreUnavailable: the archive cannot be read.
    """
    if backup is not None:
        return Point(backup_get(cluster, backup))
    event = None
    if before_audit_event is not None:
        event = record_get(cluster, before_audit_event)
        to_sequence, to_time = int(event["sequence"]) - 1, None
        if to_sequence < 1:
            raise MomentNotKept("Nothing was decided before that event.")
    base, sequence = moment_find(cluster, sequence=to_sequence, time=to_time)
    return Point(base, sequence, event)
