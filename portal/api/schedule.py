"""When Celery beat does what for the API."""

BEAT_SCHEDULE = {"api.records_expire": {"task": "api.records_expire", "schedule": 3600.0}}
