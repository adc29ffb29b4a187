"""What can be wrong with the data on a node's disk."""


class StorageError(Exception):
    """Base of the storage errors; `code` is stable."""

    code = "storage_error"


class FatalStorageError(StorageError):
    """The operating system refused a write or a sync: the process must end, never retry."""

    code = "storage_fatal"


class CorruptionError(StorageError):
    """A record that was once synced is damaged: votes may be forgotten, so do not vote."""

    code = "wal_corrupt"


class MissingLogError(StorageError):
    """The data directory was used before, but its log is gone."""

    code = "wal_missing"


class StaleLogError(StorageError):
    """The log is older than the data directory: a restored backup or a mixed-up volume."""

    code = "wal_stale"


class DirectoryLockedError(StorageError):
    """Another process uses the data directory."""

    code = "data_directory_locked"


class UnknownKeyError(StorageError):
    """Something is sealed under a key that this node does not hold: nothing is damaged by that."""

    code = "key_unknown"
