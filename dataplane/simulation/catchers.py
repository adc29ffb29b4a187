"""What catches each planted bug: seeds of random runs, or a scenario made for it.

Random runs meet some bugs too rarely, or survive them by other means: a lost proposal that nobody
repeats costs a view, not the request. Each of those has a scenario.
"""

from dataclasses import dataclass

SEEDS_HUNTED = 200


@dataclass(frozen=True, slots=True)
class Seeds:
    """Random runs catch it, by one of these checkers."""

    checkers: frozenset[str]
    first: int = 0
    """Where the hunt begins, for bugs that few seeds meet."""

    @property
    def hunted(self) -> range:
        """The seeds that are looked at."""
        return range(self.first, self.first + SEEDS_HUNTED)


def _seeds(*checkers: str, first: int = 0) -> Seeds:
    return Seeds(frozenset(checkers), first)


CAUGHT_BY_SEEDS: dict[str, Seeds] = {
    "batch_digest_unchecked": _seeds("agreement", first=30),
    "certificates_unverified": _seeds("certificates", "evidence", "roots", first=90),
    "count_duplicate_votes": _seeds("certificates"),
    "count_every_vote": _seeds("bounds"),
    "count_primary_prepare": _seeds("certificates"),
    "epoch_not_in_signature": _seeds("certificates"),
    "execute_over_gaps": _seeds("core_assertion", "execution_order"),
    "execute_twice": _seeds("exactly_once"),
    "forget_view_on_restart": _seeds("monotonic"),
    "forget_votes_on_restart": _seeds("one_vote", "monotonic", "prepared_once"),
    "ignore_digest": _seeds("certificates"),
    "install_unchecked": _seeds("roots", first=130),
    "leave_without_certificate": _seeds("certificates"),
    "never_fetch": _seeds("liveness"),
    "new_view_of_fewer": _seeds("new_view"),
    "no_alpha": _seeds("watermarks"),
    "no_persist_before_send": _seeds("persisted_first"),
    "no_pipeline": _seeds("watermarks"),
    "no_watermark": _seeds("watermarks"),
    "nobody_suspects": _seeds("liveness"),
    "old_members_go_on": _seeds("membership"),
    "one_suspect_is_enough": _seeds("certificates"),
    "own_vote_before_durable": _seeds("persisted_first"),
    "pending_without_bound": _seeds("bounds"),
    "proof_dropped_at_execution": _seeds("carried"),
    "quorum_minus_one": _seeds("certificates"),
    "lowest_promise": _seeds("linearizable"),
    "promise_what_is_executed": _seeds("linearizable"),
    "read_own_state": _seeds("linearizable"),
    "restart_forgets_promises": _seeds("linearizable", first=100),
    "rows_not_compared": _seeds("linearizable"),
    "stable_before_execution": _seeds("execution_order"),
    "view_change_not_persisted": _seeds("persisted_first"),
    "view_change_without_proofs": _seeds("carried"),
    "vote_before_new_view": _seeds("votes_in_view"),
    "vote_with_damaged_log": _seeds("damaged_log", first=25),
    "weak_suspicion_is_enough": _seeds("certificates"),
}
CAUGHT_BY_SCENARIO: dict[str, str] = {
    "back_off_ends_at_entry": "back_off_ends_with_execution",
    "back_off_without_limit": "patience_has_a_limit",
    "batch_of_the_last_view_only": "batch_of_an_old_view_is_held",
    "batch_of_the_primary_only": "batch_comes_from_any_holder",
    "beginning_unsigned": "damaged_member_of_a_young_epoch_is_repaired",
    "carried_time_checked": "carried_batch_may_be_old",
    "carried_unverified": "unfounded_new_view_is_refused",
    "copied_answers_unseen": "copied_answers_are_taken",
    "drafts_are_forgotten": "drafts_are_proposed_once",
    "drop_early_proposals": "early_proposal_is_kept",
    "epoch_left_without_proofs": "epoch_is_left_with_proofs",
    "epoch_never_given_up": "sleeper_goes_on_in_a_later_epoch",
    "quorum_must_sign_the_end": "sleeper_goes_on_where_no_quorum_signs",
    "executed_stays_in_flight": "carried_request_may_be_repeated",
    "fetched_across_epochs": "laggard_gets_one_epoch_at_a_time",
    "heads_not_compared": "other_head_is_proved",
    "learner_waits_for_batches": "learner_copies_the_beginning",
    "left_views_are_unfinished": "unprepared_batch_is_proposed_anew",
    "lowest_view_carried": "highest_view_is_carried",
    "never_decide_again": "lost_decisions_are_made_again",
    "never_repeat": "lost_votes_are_repeated",
    "own_progress_is_enough": "selfish_primary_is_replaced",
    "past_checkpoints_not_compared": "other_checkpoint_is_proved",
    "prepares_of_left_views_count": "prepares_count_in_their_view_only",
    "proofs_unverified": "forged_proof_is_refused",
    "read_across_epochs": "reader_asks_the_successors",
    "restart_forgets_checkpoint_votes": "checkpoint_votes_outlive_a_crash",
    "sleep_forgiven_twice": "own_sleep_excuses_nobody",
    "timeout_unverified": "unproven_view_change_is_refused",
    "unknown_session_executes": "unknown_session_changes_nothing",
    "way_to_the_end_forgotten": "new_members_can_begin",
    "view_change_said_once": "all_that_is_said_may_be_lost",
    "view_record_not_kept": "view_outlives_a_shortened_log",
    "vote_guard_removed": "no_second_vote_for_a_slot",
}


def catcher_of(plant: str) -> str:
    """Return what catches a planted bug, in words."""
    scenario = CAUGHT_BY_SCENARIO.get(plant)
    if scenario is not None:
        return f"scenario {scenario}"
    seeds = CAUGHT_BY_SEEDS[plant]
    return f"seeds from {seeds.first}: {', '.join(sorted(seeds.checkers))}"
