"""The tester is tested: every planted bug is caught, by the checker that should."""

import pytest

from dataplane.consensus import new_view
from dataplane.consensus.messages import PreparedProof, TimeoutCertificate, ViewChange
from dataplane.simulation.__main__ import main
from dataplane.simulation.plants import DIRECTED_PLANTS, PLANTS, planted
from dataplane.simulation.plants_suspicion import SUSPICION_PLANTS
from dataplane.simulation.sweep import run_seed
from tests.dataplane.consensus import (
    test_catch_up,
    test_durability,
    test_members,
    test_normal_case,
)
from tests.dataplane.replication import test_strong_reads

SEED_COUNT = 70
CAUGHT_BY = {
    "batch_digest_unchecked": {"agreement"},
    "certificates_unverified": {"certificates", "evidence", "roots"},
    "count_duplicate_votes": {"certificates"},
    "count_every_vote": {"bounds"},
    "count_primary_prepare": {"certificates"},
    "epoch_not_in_signature": {"certificates"},
    "execute_over_gaps": {"core_assertion", "execution_order"},
    "execute_twice": {"exactly_once"},
    "forget_view_on_restart": {"monotonic"},
    "forget_votes_on_restart": {"one_vote", "monotonic", "prepared_once"},
    "ignore_digest": {"certificates"},
    "leave_without_certificate": {"certificates"},
    "never_fetch": {"liveness"},
    "install_unchecked": {"roots"},
    "learner_waits_for_batches": {"liveness"},
    "new_view_of_fewer": {"new_view"},
    "no_alpha": {"watermarks"},
    "no_persist_before_send": {"persisted_first"},
    "no_pipeline": {"watermarks"},
    "no_watermark": {"watermarks"},
    "nobody_suspects": {"liveness"},
    "old_members_go_on": {"membership"},
    "one_suspect_is_enough": {"certificates"},
    "own_vote_before_durable": {"persisted_first"},
    "pending_without_bound": {"bounds"},
    "proof_dropped_at_execution": {"carried"},
    "quorum_minus_one": {"certificates"},
    "lowest_promise": {"linearizable"},
    "promise_what_is_executed": {"linearizable"},
    "read_own_state": {"linearizable"},
    "restart_forgets_promises": {"linearizable"},
    "rows_not_compared": {"linearizable"},
    "stable_before_execution": {"execution_order"},
    "view_change_not_persisted": {"persisted_first"},
    "view_change_without_proofs": {"carried"},
    "vote_before_new_view": {"votes_in_view"},
    "vote_with_damaged_log": {"damaged_log"},
    "weak_suspicion_is_enough": {"certificates"},
}
# Where the search begins for bugs that few seeds meet.
FIRST_SEED = {
    "batch_digest_unchecked": 30,
    "certificates_unverified": 90,
    "install_unchecked": 130,
    "restart_forgets_promises": 100,
    "vote_with_damaged_log": 25,
}


def highest_view_is_carried():
    """Slot 1 was prepared by one replica in view 0 and, with another batch, by one in view 1."""
    old, new = (PreparedProof(view, 1, bytes([view]) * 32, b"", ((3, b""),)) for view in (0, 1))
    timeout = TimeoutCertificate(0, 1, ())
    changes = [
        ViewChange(0, 2, timeout, None, (proof,), replica, b"")
        for replica, proof in ((0, old), (1, new))
    ]
    for order in (changes, changes[::-1]):
        selection = new_view.select(order, 0)
        assert selection is not None
        assert selection.digests == (new.digest,)


# What random runs meet too rarely, or survive by other means, has a test of its own.
DIRECTED = {
    "drop_early_proposals": (
        test_normal_case.test_fabric_1119_a_proposal_beyond_the_window_is_kept_for_later
    ),
    "fetched_across_epochs": lambda: (
        test_members.test_a_laggard_gets_batches_of_one_epoch_at_a_time(1, [1, 2])
    ),
    "lowest_view_carried": highest_view_is_carried,
    "never_decide_again": lambda: (
        test_catch_up.test_after_a_crash_of_all_a_laggard_learns_what_no_log_calls_decided(3)
    ),
    "never_repeat": test_normal_case.test_hyli_520_one_missing_vote_is_sent_again,
    "read_across_epochs": (test_strong_reads.test_at_the_end_of_an_epoch_its_successors_are_asked),
    "restart_forgets_checkpoint_votes": (
        test_durability.test_a_checkpoint_vote_on_disk_counts_after_a_restart
    ),
}


def test_every_planted_bug_has_its_catcher():
    assert set(CAUGHT_BY) == set(PLANTS) - DIRECTED_PLANTS
    assert set(DIRECTED) | set(SUSPICION_PLANTS) == DIRECTED_PLANTS


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(CAUGHT_BY))
def test_a_planted_bug_is_caught(name):
    others = set()
    first = FIRST_SEED.get(name, 0)
    with planted(name):
        for seed in range(first, first + SEED_COUNT):
            checker = run_seed(seed).checker
            if checker in CAUGHT_BY[name]:
                return
            others.add(checker)
    raise AssertionError(f"{name} was not caught by {CAUGHT_BY[name]}, only by {others}")


@pytest.mark.parametrize("name", sorted(DIRECTED))
def test_a_directed_test_catches_the_others(name):
    DIRECTED[name]()
    with planted(name), pytest.raises((AssertionError, ValueError)):
        DIRECTED[name]()


def test_the_core_is_whole_again_after_a_plant():
    before = run_seed(0)
    with planted("quorum_minus_one"):
        assert run_seed(0).violation is not None
    assert run_seed(0) == before


def test_the_command_line_says_which_seed_caught_it(capsys):
    assert main(["--plant", "quorum_minus_one", "--seeds", "0-5"]) == 1
    assert "quorum_minus_one caught at seed 0" in capsys.readouterr().out


def test_the_command_line_lists_the_plants(capsys):
    assert main(["--list-plants"]) == 0
    listed = capsys.readouterr().out
    assert {line.split()[0] for line in listed.splitlines()} == set(CAUGHT_BY)


def test_the_command_line_runs_seeds(capsys):
    assert main(["--seeds", "2-3"]) == 0
    assert "2 seeds, 0 violations" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["--seeds", "x"], ["--seeds", "5-1"]])
def test_the_command_line_refuses_nonsense(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert capsys.readouterr().err
