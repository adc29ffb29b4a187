"""What beat starts for backups."""

BEAT_SCHEDULE = {
    "backups-sweep": {
        "task": "backups.sweep",
        "schedule": 15.0,
        "options": {"expires": 15},
    },
    "backups-archive-all": {
        "task": "backups.archive_all",
        "schedule": 5.0,
        "options": {"expires": 5},
    },
    "backups-drill-all": {
        "task": "backups.drill_all",
        "schedule": 1800.0,
        "options": {"expires": 600},
    },
    "backups-branches-end-due": {
        "task": "backups.branches_end_due",
        "schedule": 60.0,
        "options": {"expires": 60},
    },
    "backups-thin-out": {
        "task": "backups.thin_out",
        "schedule": 600.0,
        "options": {"expires": 600},
    },
}
