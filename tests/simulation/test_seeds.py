"""Whole clusters under faults and liars, by seed. A failing seed names its own reproduction."""

import pytest

from dataplane.simulation.sweep import run_seed, run_seeds

SEEDS = range(120)  # scripts/test runs a thousand
DOCUMENT_SEEDS = range(1_000, 1_012)
# Seeds that once failed, each with what it found.
REGRESSIONS = {
    113: "one replica did not count its checkpoint votes again after a restart",
    117: "a laggard piled up votes for checkpoints older than a proof it held",
    161: "the same while it held no proof yet",
    185: "the same with a correlated crash",
    271: "a laggard out of retention and a liar left no quorum, before states were copied",
    129: "a copied state met a proposal whose batch a decision of a later view had replaced",
    403: "after every copy of the state a replica had the others' old requests ordered again",
    794: "the same without a liar",
    140: "a request carried by a view after its execution counted as in flight for ever",
    266: "the same at the primary alone, whose other requests were left behind with it",
    2: "a learner of a later epoch asked for batches that it could not check, for ever",
    7: "two learners answered each other's positions without end",
    160: "a laggard before the end of an epoch was answered with batches of two epochs",
    265: "a restart executed batches of the next epoch before it entered it",
    309: "after a restart nobody served the batches of the epoch before",
    357: "a laggard never signed the roots that were out of its reach when it executed them",
    843: "a liar got an answer for every position that it made up",
    1348: "a node gave its epoch up for one whose only member it was, and that it alone could sign",
    2360: "a damaged member was left behind in an epoch that ended without any certificate",
    908: "the same everywhere: all suspected one primary after the other",
    113475: "a replica without its log left a view alone and showed nobody its reason",
    170206: "the same with three members",
    10747: "who came to the end of an epoch left others that were no quorum without it",
    148221: "the same by a crash at the very end of the epoch",
    158752: "whom a liar left out had its requests ordered again after every copied state",
    135349: "the same with six members, two batches at a time",
    134505: "a member that heard of no certificate of its epoch kept every batch",
}


def _failures(results):
    return [
        f"{result.violation} (python -m dataplane.simulation --seed {result.seed} --trace)"
        for result in results
        if result.violation is not None
    ]


@pytest.mark.seeds
@pytest.mark.slow
def test_no_seed_breaks_a_promise():
    results = list(run_seeds(SEEDS, jobs=2))
    assert not _failures(results)
    seen = {what for result in results for what, count in result.counters.items() if count}
    needed = {"acknowledged", "crash", "evidence", "partition", "rejected", "stable"}
    assert needed <= seen, "the sweep must exercise every kind of fault"


@pytest.mark.seeds
@pytest.mark.slow
def test_the_real_state_machine_keeps_the_same_promises():
    results = list(run_seeds(DOCUMENT_SEEDS, jobs=2, application="documents"))
    assert not _failures(results)
    seen = {what for result in results for what, count in result.counters.items() if count}
    assert {"document_expired", "document_sealed", "operation_audited"} <= seen


@pytest.mark.parametrize("seed", sorted(REGRESSIONS))
def test_a_seed_that_once_failed_passes(seed):
    assert not _failures([run_seed(seed)])
