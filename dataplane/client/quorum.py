"""The fault budget of a cluster size, for clients and for the portal."""

from dataplane.wire.quorum import (
    crashes_tolerated,
    faults_tolerated,
    quorum_size,
    reply_quorum,
)

__all__ = ["crashes_tolerated", "faults_tolerated", "quorum_size", "reply_quorum"]
