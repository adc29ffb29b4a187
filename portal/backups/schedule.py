"""What beat starts for backups."""

BEAT_SCHEDULE = {
    "backups-sweep": {
        "task": "backups.sweep",
        "schedule": 15.0,
        "options": {"expires": 15},
    },
    "backups-thin-out": {
        "task": "backups.thin_out",
        "schedule": 600.0,
        "options": {"expires": 600},
    },
}
