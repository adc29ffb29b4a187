"""Refusals that callers of backups can be told."""

from portal.core.errors import Conflict, PortalError, QuotaExceeded


class BackupRunning(Conflict):
    """A backup of the cluster is on its way already."""

    code = "backup_running"


class BackupNotUsable(Conflict):
    """The backup is not stored, so it cannot be restored."""

    code = "backup_not_usable"


class BackupInUse(Conflict):
    """A later backup or a restore needs it."""

    code = "backup_in_use"


class UnableToBackUp(Conflict):
    """The cluster's present state does not allow a backup or a restore."""

    code = "backup_state"


class MomentNotKept(Conflict):
    """No backup and no archive reach the moment."""

    code = "moment_not_kept"


class NotABranch(Conflict):
    """The cluster did not begin as a branch of another one."""

    code = "not_a_branch"


class PreviewRunning(Conflict):
    """Another state of the cluster is being compared with that of now."""

    code = "preview_running"


class ArchiveDamaged(Conflict):
    """What is archived of some sequences is not what was stored: these cannot be told again."""

    code = "archive_damaged"


class TooManyBackups(QuotaExceeded):
    """No further backup on demand is kept."""

    code = "backup_quota_exceeded"
    status = 409


class StoreUnavailable(PortalError):
    """The store of backups does not answer, or refuses."""

    code = "backup_store_unavailable"
    status = 503
    title = "The store of backups does not answer"


class ObjectMissing(StoreUnavailable):
    """The store has no such object."""
