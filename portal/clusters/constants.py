"""Limits and scopes of clusters."""

from datetime import timedelta
from typing import Final

from dataplane.client.keys import SCOPES

KEY_SCOPES: Final = SCOPES
ADMIN_SCOPES: Final = SCOPES
KEYS_PER_CLUSTER_MAX: Final = 100
CLUSTERS_PER_ORGANIZATION_MAX: Final = 10
FREE_CLUSTERS_MAX: Final = 2
RECYCLE_BIN: Final = timedelta(days=7)
NAME_PATTERN: Final = r"^[a-z][a-z0-9-]{1,38}[a-z0-9]$"
LOG_TAIL_BYTES: Final = 64 * 1024
PROBE_COLLECTION: Final = "aerolith-probe"
