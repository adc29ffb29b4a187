"""Bugs of the view change that random runs seldom meet: each has a directed test that fails."""

import pytest

from dataplane.simulation.plants import planted
from dataplane.simulation.plants_suspicion import SUSPICION_PLANTS
from tests.dataplane.consensus import test_known_bugs_views as known
from tests.dataplane.consensus import test_suspicion as suspicion
from tests.dataplane.consensus import test_view_change as change
from tests.dataplane.consensus import test_view_durability as durability
from tests.dataplane.consensus import test_view_messages as messages
from tests.dataplane.consensus.lab import Lab
from tests.dataplane.consensus.views import timeout

CAUGHT_BY = {
    "back_off_ends_at_entry": (
        suspicion.test_back_off_grows_with_views_in_vain_and_ends_when_the_new_view_executes
    ),
    "back_off_without_limit": suspicion.test_no_timeout_grows_beyond_its_limit,
    "batch_of_the_last_view_only": (
        change.test_the_batch_of_an_old_view_is_still_held_when_a_late_certificate_calls_for_it
    ),
    "batch_of_the_primary_only": (
        change.test_a_batch_is_fetched_from_a_holder_that_is_not_the_primary
    ),
    "carried_time_checked": (
        known.test_indy_plenum_1488_a_batch_from_before_a_long_pause_is_carried_without_looking_at_its_time
    ),
    "carried_unverified": lambda: messages.test_a_new_view_that_does_not_follow_is_refused(
        Lab(4), "another batch"
    ),
    "drafts_are_forgotten": (
        known.test_sawtooth_140_drafts_of_an_old_primary_are_proposed_once_when_it_leads_again
    ),
    "executed_stays_in_flight": (
        change.test_a_repeated_request_whose_batch_was_carried_is_answered_again
    ),
    "left_views_are_unfinished": change.test_what_was_prepared_nowhere_is_proposed_anew,
    "own_progress_is_enough": (
        suspicion.test_a_primary_that_orders_requests_of_its_own_only_is_replaced
    ),
    "prepares_of_left_views_count": change.test_prepares_of_a_left_view_do_not_count_in_the_next,
    "proofs_unverified": lambda: (
        messages.test_a_forged_prepared_certificate_refuses_the_whole_view_change(
            Lab(4), "too few", "first"
        )
    ),
    "sleep_forgiven_twice": suspicion.test_what_happened_after_a_sleep_is_not_forgiven_with_it,
    "timeout_unverified": lambda: messages.test_a_view_change_with_one_defect_is_refused(
        Lab(4), {"timeout": timeout(0, (0,))}
    ),
    "view_change_said_once": lambda: (
        known.test_fabric_1917_everything_said_during_a_view_change_may_be_lost(4)
    ),
    "view_record_not_kept": lambda: durability.test_the_view_outlives_the_shortening_of_the_log(1),
    "vote_guard_removed": (
        known.test_telcoin_391_a_restarted_replica_gives_no_second_vote_in_a_later_view
    ),
}


def test_every_bug_planted_here_has_its_test():
    assert set(CAUGHT_BY) == set(SUSPICION_PLANTS)


@pytest.mark.parametrize("name", sorted(CAUGHT_BY))
def test_a_directed_test_catches_it(name):
    CAUGHT_BY[name]()
    with planted(name), pytest.raises((AssertionError, IndexError)):
        CAUGHT_BY[name]()
