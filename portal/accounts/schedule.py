"""When Celery beat does what for accounts."""

BEAT_SCHEDULE = {
    "accounts.sessions_clear": {"task": "accounts.sessions_clear", "schedule": 3600.0},
}
