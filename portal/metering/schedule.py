"""What beat starts for metering."""

BEAT_SCHEDULE = {
    "metering-usage-purge": {
        "task": "metering.usage_purge",
        "schedule": 3600.0,
        "options": {"expires": 3600},
    },
}
