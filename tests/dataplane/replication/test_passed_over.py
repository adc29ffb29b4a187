"""When a node gives up an epoch that is over, and what it knows of the one it goes on in."""

from dataplane.consensus.config import Limits
from dataplane.documents.types import Configuration
from dataplane.replication.handovers import validators_of
from dataplane.replication.passed_over import PATIENCE_STATUSES, PassedOver
from dataplane.wire.membership import Member
from dataplane.wire.proofs import EpochChange

LIMITS = Limits(status_ms=100)
PATIENCE_MS = PATIENCE_STATUSES * LIMITS.status_ms


def member(node_id: int) -> Member:
    return Member(
        node_id, "127.0.0.1", 1, 2, bytes([node_id + 1]) * 32, bytes([node_id + 101]) * 32
    )


def configuration(epoch: int, *ids: int) -> Configuration:
    return Configuration(epoch, 100 * epoch, tuple(map(member, ids)))


def change(following: Configuration) -> EpochChange:
    validators = validators_of(following.members)
    return EpochChange(following.epoch - 1, following.base, validators, ())


def test_nothing_is_given_up_while_no_later_epoch_is_proved():
    chain: list[EpochChange] = []
    passed_over = PassedOver(LIMITS, lambda: chain)
    here = configuration(1, 0, 1, 2)
    for known in ([], [change(here)]):
        chain[:] = known
        assert passed_over.where_to(here, 7, 0) is None
        assert passed_over.where_to(here, 7, 100 * PATIENCE_MS) is None


def test_an_epoch_is_given_up_after_a_time_without_progress_from_when_its_end_is_known():
    chain: list[EpochChange] = []
    passed_over = PassedOver(LIMITS, lambda: chain)
    here, following = configuration(0, 0, 1, 2), configuration(1, 1, 2, 3)
    assert passed_over.where_to(here, 7, 0) is None
    chain.append(change(following))
    began_ms = 50 * PATIENCE_MS
    assert passed_over.where_to(here, 7, began_ms) is None
    assert passed_over.where_to(here, 7, began_ms + PATIENCE_MS - 1) is None
    # A batch was executed: the way is not closed.
    assert passed_over.where_to(here, 8, began_ms + PATIENCE_MS) is None
    assert passed_over.where_to(here, 8, began_ms + 2 * PATIENCE_MS - 1) is None
    assert passed_over.where_to(here, 8, began_ms + 2 * PATIENCE_MS) is not None


def test_it_goes_on_in_the_newest_epoch_with_what_is_proved_and_what_it_knew():
    here = configuration(0, 0, 1, 2)
    chain = [change(configuration(1, 1, 2, 3)), change(configuration(2, 2, 3, 4))]
    passed_over = PassedOver(LIMITS, lambda: chain)
    passed_over.where_to(here, 7, 0)
    newest = passed_over.where_to(here, 7, PATIENCE_MS)
    assert newest is not None
    assert (newest.epoch, newest.base) == (2, 200)
    assert newest.members[0] == member(2)
    strangers = [Member(i, "", 0, 0, member(i).public_key, b"") for i in (3, 4)]
    assert list(newest.members[1:]) == strangers
