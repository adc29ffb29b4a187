"""When Celery beat does what for access."""

BEAT_SCHEDULE = {
    "access.bindings_expire": {"task": "access.bindings_expire", "schedule": 300.0},
}
