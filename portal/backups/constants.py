"""Bounds of backups."""

from datetime import timedelta
from typing import Final

NOTE_LENGTH_MAX: Final = 200
EVERY_HOURS: Final = (0, 1, 2, 4, 6, 8, 12, 24)
"""Choices of the schedule; 0 takes none by itself."""
KEEP_MAX: Final = {"hourly": 168, "daily": 90, "weekly": 104, "monthly": 120, "yearly": 20}
KEEP_DAYS_MAX: Final = 3650
MANUAL_MAX: Final = 50
"""Backups on demand that a cluster keeps."""
ATTEMPTS_MAX: Final = 3
RETRY_PAUSE: Final = timedelta(seconds=30)
WHOLE_EVERY: Final = timedelta(days=7)
"""Between two whole backups; those in between have what changed since."""
SAFETY_KEEP: Final = timedelta(days=30)
BACKUP_LOCK: Final = 0x6261_636B  # "back": one backup of a cluster at a time.
ARCHIVE_LOCK: Final = 0x6172_6368  # "arch": one archivist of a cluster at a time.
ARCHIVE_BATCHES: Final = 200
"""So many batches are worth a segment at once; fewer wait until the last one is so old:"""
ARCHIVE_AGE: Final = timedelta(minutes=1)
ARCHIVE_ROUNDS_MAX: Final = 20
WINDOW_DAYS_MAX: Final = 35
REPLAY_TIMEOUT_S: Final = 400
"""For one slice of a replay: loading the backup, which is done at once, takes most of it."""
FETCH_TIMEOUT_S: Final = 400
"""For reading a backup from the store and checking it, well below the time limit of a task."""
DRILL_LOCK: Final = 0x6472_6C6C  # "drll": one rehearsal of a cluster at a time.
DRILL_EVERY: Final = timedelta(days=7)
DRILL_TIMEOUT_S: Final = 400
DRILL_DEATH: Final = timedelta(minutes=15)
"""A rehearsal that did not end within so long was left by a worker that died."""
BRANCH_LIFE_MIN: Final = timedelta(hours=1)
BRANCH_LIFE_MAX: Final = timedelta(days=366)
BRANCH_NOTICE: Final = timedelta(days=1)
"""People are told so long before a branch ends, or in the last quarter of a shorter life."""
BRANCH_GRACE: Final = timedelta(minutes=30)
"""A branch never ends sooner after people were told, also when the mail was late."""
BRANCHES_AT_ONCE: Final = 50
PREVIEW_LOCK: Final = 0x7072_6576  # "prev": one preview of a cluster at a time.
PREVIEW_TIMEOUT_S: Final = 450
PREVIEW_DEATH: Final = timedelta(minutes=12)
"""A preview that did not end within so long was left by a worker that died."""
PREVIEW_WAIT_MAX: Final = timedelta(hours=1)
"""So long a preview waits for its turn."""
TURNS_AT_ONCE: Final = 4
"""Comparisons, rehearsals, fetches and replays at once; a worker has eight threads."""
TURNS_PER_ORGANIZATION: Final = 2
PREVIEWS_KEPT: Final = 10
SHOWN_MAX: Final = 100
SLICE_S: Final = 15.0
"""How long a step loads before it says how far it is."""
