"""What beat starts for clusters."""

BEAT_SCHEDULE = {
    "clusters-operations-sweep": {
        "task": "clusters.operations_sweep",
        "schedule": 2.0,
        "options": {"expires": 2},
    },
    "clusters-observe-all": {
        "task": "clusters.observe_all",
        "schedule": 5.0,
        "options": {"expires": 5},
    },
    "clusters-experiments-revert-due": {
        "task": "clusters.experiments_revert_due",
        "schedule": 3.0,
        "options": {"expires": 3},
    },
    "clusters-purge-due": {
        "task": "clusters.purge_due",
        "schedule": 600.0,
        "options": {"expires": 600},
    },
}
