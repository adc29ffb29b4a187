"""The one formula of quorums: celo#253, polygon-edge#513, go-ibft#86, quorum#796."""

import pytest

from dataplane.wire.quorum import (
    crashes_tolerated,
    faults_tolerated,
    quorum_size,
    reply_quorum,
)

SIZES = range(1, 201)


@pytest.mark.parametrize("n", SIZES)
def test_two_quorums_share_an_honest_replica(n):
    f, q = faults_tolerated(n), quorum_size(n)
    assert 2 * q - n >= f + 1


@pytest.mark.parametrize("n", SIZES)
def test_honest_replicas_alone_make_a_quorum(n):
    assert quorum_size(n) <= n - faults_tolerated(n)


@pytest.mark.parametrize("n", SIZES)
def test_no_smaller_quorum_would_do(n):
    f, smaller = faults_tolerated(n), quorum_size(n) - 1
    assert 2 * smaller - n < f + 1


@pytest.mark.parametrize("n", SIZES)
def test_enough_equal_replies_include_an_honest_one(n):
    f = faults_tolerated(n)
    assert f + 1 <= max(reply_quorum(n), 1) <= quorum_size(n)


@pytest.mark.parametrize(
    ("n", "f", "q", "crashes"),
    [(1, 0, 1, 0), (3, 0, 2, 1), (4, 1, 3, 1), (5, 1, 4, 1), (6, 1, 4, 2), (7, 2, 5, 2)],
)
def test_sizes_that_are_sold(n, f, q, crashes):
    assert (faults_tolerated(n), quorum_size(n), crashes_tolerated(n)) == (f, q, crashes)
