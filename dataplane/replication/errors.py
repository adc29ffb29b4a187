"""What a gateway can be told instead of a result."""


class ReplicationError(Exception):
    """Base: the request got no certain result."""


class NoQuorumError(ReplicationError):
    """No quorum answered in time.

    The request may still be ordered; a retry with the same idempotency key is safe.
    """


class NotReadyError(ReplicationError):
    """The node cannot take requests now: starting, stopping or out of step with its peers."""


class OverloadedError(ReplicationError):
    """Too many requests wait already; nothing was sent."""
