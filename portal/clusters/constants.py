"""Bounds of clusters and operations."""

from datetime import timedelta
from typing import Final

NAME_LENGTH_MAX: Final = 40
CLUSTERS_PER_ORGANIZATION_MAX: Final = 50
KEYS_PER_CLUSTER_MAX: Final = 100
RECYCLE_PERIOD: Final = timedelta(days=7)
# The same form posted twice within this time, for the same cluster, is one click.
DOUBLE_SUBMIT_WINDOW: Final = timedelta(minutes=10)
LOG_LINES_MAX: Final = 500
LOG_BYTES_MAX: Final = 256 * 1024
# How long one task keeps polling before it gives the worker to others.
TURN: Final = timedelta(seconds=20)
POLL_INTERVAL_S: Final = 0.2
TELL_EVERY: Final = timedelta(seconds=1)
"""How often a step says how far it is within one call."""
OBSERVE_TIMEOUT_S: Final = 2.0
PROBE_COLLECTION: Final = "aerolith_probe"
# How long nodes stay broken on purpose, and what is kept of it.
EXPERIMENT_PERIOD: Final = timedelta(minutes=5)
EXPERIMENTS_KEPT: Final = 20
EXPERIMENT_SAMPLES_MAX: Final = 900
EXPERIMENT_EVENTS_MAX: Final = 2000
# A second of an experiment; and the document that every node has when it begins.
SAMPLE: Final = "sample"
SAMPLE_TEXT: Final = "every node has this"
TIMELINE_PAGE: Final = 500
CHAOS_COLLECTION: Final = "aerolith_chaos"
MEND_ATTEMPTS_MAX: Final = 10
