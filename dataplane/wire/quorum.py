"""How many replicas must agree: the one place where the arithmetic of quorums is written."""


def faults_tolerated(replica_count: int) -> int:
    """Return f, how many replicas may lie: floor((n-1)/3). Castro & Liskov, OSDI'99, section 2."""
    assert replica_count >= 1
    return (replica_count - 1) // 3


def quorum_size(replica_count: int) -> int:
    """Return q = ceil((n+f+1)/2): two quorums share an honest replica, for every n.

    2f+1 is the same number only when n = 3f+1; for n = 6 it would be 3, two disjoint quorums.
    """
    return -(-(replica_count + faults_tolerated(replica_count) + 1) // 2)


def blocking_size(replica_count: int) -> int:
    """Return b = n-q+1, the size of a set that shares a member with every quorum.

    Without so many replicas no quorum can be formed: they may end a view, and f liars alone cannot
    (f+1 <= b <= q).
    """
    return replica_count - quorum_size(replica_count) + 1


def reply_quorum(replica_count: int) -> int:
    """Return how many equal replies make a result trustworthy: f+1, and q where f is 0.

    With n = 3 one lying replica cannot be masked, but waiting for q replies at least notices it.
    """
    faults = faults_tolerated(replica_count)
    return faults + 1 if faults else quorum_size(replica_count)


def crashes_tolerated(replica_count: int) -> int:
    """Return how many replicas may be down while the others still make progress: n - q."""
    return replica_count - quorum_size(replica_count)
