"""Limits of the explorer."""

from datetime import timedelta

PAGE_COUNT = 25
HISTORY_COUNT = 20
# Units in which the time after which documents expire is given.
EXPIRY_UNITS = {"s": 1, "min": 60, "h": 3_600, "d": 86_400}
UNIT_WORDS = (("s", "seconds"), ("min", "minutes"), ("h", "hours"), ("d", "days"))
# Ten years: the longest time that nodes take for a policy.
TIERING_S_MAX = 3_650 * 86_400
PAGE_COUNT_MAX = 200
QUERY_TEXT_MAX = 16 * 1024
DOCUMENT_BYTES_MAX = 1024 * 1024
# How much of a document a row of the list shows.
PREVIEW_CHARACTERS = 240

IMPORT_BYTES_MAX = 16 * 1024 * 1024
IMPORT_ROWS_MAX = 250_000
# Each column is a field of the form that starts the import; forms have at most 200.
IMPORT_COLUMNS_MAX = 150
IMPORT_ERRORS_MAX = 100
IMPORT_OPEN_MAX = 5
IMPORT_BATCH_COUNT = 500
IMPORT_BATCH_BYTES = 4 * 1024 * 1024
# One turn of the worker; then other tasks get theirs.
IMPORT_TURN = timedelta(seconds=5)
IMPORT_LEASE = timedelta(seconds=30)
IMPORT_WAIT_MAX = timedelta(minutes=15)
IMPORT_RETRY_SECONDS = 3
DRAFT_KEPT = timedelta(days=1)
PREVIEW_ROWS = 20
GUESS_ROWS = 2000

EXPORT_PAGE_COUNT = 500
EXPORT_COLUMNS_MAX = 500
SCHEMA_BYTES_MAX = 64 * 1024
SCHEMA_DRAFT = '{"required": ["name"], "properties": {"name": {"type": "string"}}}'
