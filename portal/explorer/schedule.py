"""What beat starts for the explorer."""

BEAT_SCHEDULE = {
    "explorer-imports-sweep": {
        "task": "explorer.imports_sweep",
        "schedule": 10.0,
        "options": {"expires": 10},
    },
}
