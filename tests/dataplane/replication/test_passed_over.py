"""When a node gives up an epoch that is over, and what it knows of the one it goes on in."""

from types import SimpleNamespace

import pytest

from dataplane.consensus.config import Limits
from dataplane.consensus.messages import Status
from dataplane.documents.types import Configuration
from dataplane.replication.handovers import validators_of
from dataplane.replication.passed_over import COPYING_FACTOR, PATIENCE_STATUSES, PassedOver
from dataplane.wire.membership import Member
from dataplane.wire.proofs import EpochChange

LIMITS = Limits(status_ms=100)
PATIENCE_MS = PATIENCE_STATUSES * LIMITS.status_ms


def member(node_id: int) -> Member:
    key = bytes([node_id + 1]) * 32
    return Member(node_id, "127.0.0.1", 1, 2, key, bytes([node_id + 101]) * 32)


def configuration(epoch: int, *ids: int) -> Configuration:
    return Configuration(epoch, 100 * epoch, tuple(map(member, ids)))


def change(following: Configuration) -> EpochChange:
    validators = validators_of(following.members)
    return EpochChange(following.epoch - 1, following.base, validators, ())


def told(stable: dict[int, int]) -> dict[int, Status]:
    return {i: Status(2, 0, s, s, i, is_active=True, head=b"") for i, s in stable.items()}


def replica(executed: int, stable: dict[int, int], copying: int | None = None):
    return SimpleNamespace(executed=executed, positions=told(stable), copying=copying)


def test_nothing_is_given_up_while_no_later_epoch_is_proved():
    chain: list[EpochChange] = []
    passed_over = PassedOver(LIMITS, lambda epoch: chain[epoch:])
    here, there = configuration(1, 0, 1, 2), replica(7, dict.fromkeys(range(3), 900))
    for known in ([], [change(here)]):
        chain[:] = known
        assert passed_over.where_to(here, there, 0) is None
        assert passed_over.where_to(here, there, 100 * PATIENCE_MS) is None


@pytest.mark.parametrize(("copying", "factor"), [(None, 1), (64, COPYING_FACTOR)])
def test_an_epoch_is_given_up_after_a_time_without_progress_from_when_its_end_is_known(
    copying, factor
):
    chain: list[EpochChange] = []
    passed_over = PassedOver(LIMITS, lambda epoch: chain[epoch:])
    here, following = configuration(0, 0, 1, 2), configuration(1, 1, 2, 3)
    stable, patience_ms = dict.fromkeys((1, 2, 3), 100), factor * PATIENCE_MS
    assert passed_over.where_to(here, replica(7, stable, copying), 0) is None
    chain.append(change(following))
    began_ms = 50 * PATIENCE_MS
    for executed, at_ms, is_given_up in (
        (7, 0, False),
        (7, patience_ms - 1, False),
        (8, patience_ms, False),  # A batch was executed: the way is not closed.
        (8, 2 * patience_ms - 1, False),
        (8, 2 * patience_ms, True),
    ):
        there = replica(executed, stable, copying)
        assert bool(passed_over.where_to(here, there, began_ms + at_ms)) is is_given_up


def where_to(here: Configuration, epochs: list[Configuration], stable: dict[int, int]):
    chain = [change(epoch) for epoch in epochs]
    passed_over = PassedOver(LIMITS, lambda epoch: chain[epoch:])
    passed_over.where_to(here, replica(7, stable), 0)
    return passed_over.where_to(here, replica(7, stable), PATIENCE_MS)


def test_it_goes_on_in_the_newest_epoch_with_what_is_proved_and_what_it_knew():
    epochs = [configuration(1, 1, 2, 3), configuration(2, 2, 3, 4)]
    newest = where_to(configuration(0, 0, 1, 2), epochs, {3: 200})
    assert newest is not None
    assert (newest.epoch, newest.base) == (2, 200)
    assert newest.members[0] == member(2)
    strangers = [Member(i, "", 0, 0, member(i).public_key, b"") for i in (3, 4)]
    assert list(newest.members[1:]) == strangers


@pytest.mark.parametrize(("certified", "epoch"), [(200, 2), (199, 1), (100, 1), (99, None)])
def test_it_goes_no_further_than_somebody_has_a_certificate(certified, epoch):
    """Alone in the newest epoch, it would wait for its own signature."""
    epochs = [configuration(1, 0, 1, 2), configuration(2, 2)]
    following = where_to(configuration(0, 0, 1, 2), epochs, dict.fromkeys((0, 1), certified))
    assert (following and following.epoch) == epoch


def test_what_as_many_say_as_may_lie_is_no_certificate():
    epochs = [configuration(1, 0, 1, 2, 3), configuration(2, 1, 2, 3, 4)]
    here = configuration(0, 0, 1, 2, 3)
    assert where_to(here, epochs, {1: 10**9, 4: 10**9}) is None
    assert where_to(here, epochs, {1: 10**9, 4: 10**9, 9: 10**9}) is None, "a stranger's word"
    following = where_to(here, epochs, {1: 10**9, 4: 10**9, 2: 150})
    assert following is not None
    assert following.epoch == 1
