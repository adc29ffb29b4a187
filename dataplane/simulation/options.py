"""Everything a run varies, drawn from its seed."""

from dataclasses import dataclass, replace
from random import Random

from dataplane.consensus.config import Limits
from dataplane.wire.quorum import faults_tolerated, quorum_size

REPLICA_COUNTS = (1, 3, 3, 4, 4, 4, 4, 5, 6, 6, 7, 10)
BEHAVIOURS = (
    "silent",
    "equivocating_primary",
    "double_voter",
    "unseen_digest",
    "stale_replay",
    "selective",
    "false_checkpoint",
    "lying_status",
)
VIEW_BEHAVIOURS = (
    "suspect_spammer",
    "proof_hider",
    "proof_forger",
    "huge_views",
    "false_new_view",
    "two_new_views",
    "selective_new_view",
    "old_views",
    "slow_primary",
    "censor",
    "withholder",
)
APPLICATIONS = ("kv", "documents")
TRANSFER_BEHAVIOURS = ("bad_parts", "stale_state", "never_finishes")
CALM_PERCENT = 15
TRANSFER_LIAR_PERCENT = 40
SMALL_RETENTION_PERCENT = 60
AMNESIA_PERCENT = 10
FLIP_PERCENT = 12
TORN_PERCENT = 70


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """One run's cluster, load and faults."""

    seed: int
    n: int
    application: str
    limits: Limits
    byzantine: tuple[tuple[int, str], ...]
    loss: float
    duplication: float
    delay_max_ms: int
    sync_max_ms: int
    skew_max_ms: int
    partition_count: int
    crash_count: int
    correlated_crashes: int
    torn: bool
    request_count: int
    request_every_ms: int
    faults_until_ms: int
    amnesiac: int | None = None
    flipped: int | None = None

    @property
    def liars(self) -> frozenset[int]:
        """The ids of the Byzantine replicas."""
        return frozenset(replica for replica, _ in self.byzantine)

    @property
    def is_live(self) -> bool:
        """Whether requests must be answered: as long as the honest who may vote suffice."""
        mute = len(self.byzantine) + (self.amnesiac is not None)
        return mute <= self.n - quorum_size(self.n)

    def describe(self) -> str:
        """Return one line about the run."""
        liars = ",".join(f"{replica}:{name}" for replica, name in self.byzantine) or "none"
        return (
            f"n={self.n} K={self.limits.checkpoint_interval} L={self.limits.window} "
            f"ALPHA={self.limits.pipeline} loss={self.loss} dup={self.duplication} "
            f"delay={self.delay_max_ms} partitions={self.partition_count} "
            f"crashes={self.crash_count}+{self.correlated_crashes}all liars={liars} "
            f"retained={self.limits.retained_batches_max} "
            f"amnesiac={self.amnesiac} flipped={self.flipped} app={self.application}"
        )


def draw_options(seed: int, application: str = "kv") -> Options:
    """Draw a run from its seed."""
    rng = Random(seed)
    n = rng.choice(REPLICA_COUNTS)
    liar_count = rng.randint(0, faults_tolerated(n))
    liars = sorted(rng.sample(range(n), liar_count))
    interval = rng.choice((2, 4, 8, 16))
    window = interval * rng.choice((2, 2, 4))
    calm = rng.randint(1, 100) <= CALM_PERCENT
    options = Options(
        seed=seed,
        n=n,
        application=application,
        limits=_draw_limits(rng, interval, window),
        byzantine=tuple((replica, _draw_behaviour(rng, replica)) for replica in liars),
        loss=0.0 if calm else rng.choice((0.0, 0.01, 0.05, 0.2)),
        duplication=0.0 if calm else rng.choice((0.0, 0.02, 0.2)),
        delay_max_ms=rng.choice((2, 10, 50, 150)),
        sync_max_ms=rng.choice((1, 3, 20)),
        skew_max_ms=rng.choice((0, 0, 500, 4_000)),
        partition_count=0 if calm else rng.randint(0, 3),
        crash_count=0 if calm else rng.randint(0, 4),
        correlated_crashes=0 if calm else rng.choice((0, 0, 1, 2)),
        torn=rng.randint(1, 100) <= TORN_PERCENT,
        request_count=rng.randint(30, 110) if n < 7 else rng.randint(20, 45),
        request_every_ms=rng.choice((3, 10, 40)),
        faults_until_ms=rng.randint(1_000, 4_000),
    )
    return _draw_transfer(options, Random(seed + 2**32))


def _draw_transfer(options: Options, rng: Random) -> Options:
    """Draw what makes replicas need the state of others, from numbers of its own."""
    interval = options.limits.checkpoint_interval
    limits = replace(
        options.limits,
        copy_nodes_max=rng.choice((1, 3, 64)),
        copy_rows_max=rng.choice((1, 5, 256)),
        copy_bytes_max=rng.choice((200, 1024 * 1024)),
        copy_timeout_ms=rng.choice((150, 600)),
    )
    if rng.randint(1, 100) <= SMALL_RETENTION_PERCENT:
        limits = replace(limits, retained_batches_max=rng.choice((1, interval, 2 * interval)))
    byzantine = tuple(
        (replica, rng.choice(TRANSFER_BEHAVIOURS))
        if replica and rng.randint(1, 100) <= TRANSFER_LIAR_PERCENT
        else (replica, name)
        for replica, name in options.byzantine
    )
    # The primary stays what it is, and in all no more fail than the cluster bears.
    honest = [replica for replica in range(1, options.n) if replica not in options.liars]
    spare = options.n - quorum_size(options.n) - len(options.byzantine)
    amnesiac = flipped = None
    if spare > 0 and honest and rng.randint(1, 100) <= AMNESIA_PERCENT:
        amnesiac = rng.choice(honest)
    elif spare > 0 and honest and rng.randint(1, 100) <= FLIP_PERCENT:
        flipped = rng.choice(honest)
    return replace(options, limits=limits, byzantine=byzantine, amnesiac=amnesiac, flipped=flipped)


def _draw_behaviour(rng: Random, replica: int) -> str:
    behaviours: tuple[str, ...] = BEHAVIOURS if rng.randint(0, 1) else VIEW_BEHAVIOURS
    if replica == 0:
        return rng.choice(("equivocating_primary", "equivocating_primary", *behaviours))
    return rng.choice(behaviours)


def _draw_limits(rng: Random, interval: int, window: int) -> Limits:
    return Limits(
        checkpoint_interval=interval,
        window=window,
        pipeline=rng.choice((1, 2, window // 2, window)),
        batch_ops_max=rng.choice((2, 3, 8)),
        batch_bytes_max=rng.choice((300, 64 * 1024)),
        batch_delay_ms=rng.choice((0, 2, 10)),
        pending_requests_max=200,
        pending_per_client_max=rng.choice((8, 64)),
        retransmit_ms=rng.choice((60, 200)),
        status_ms=rng.choice((150, 400)),
        retained_batches_max=rng.choice((max(8, window), 1_024)),
        fetch_batches_max=rng.choice((2, 32)),
        evidence_max=rng.choice((2, 50)),
        heartbeat_ms=100,
        heartbeat_timeout_ms=rng.choice((250, 400, 900)),
        request_timeout_min_ms=rng.choice((200, 400, 900)),
        view_timeout_ms=rng.choice((200, 400, 1_000)),
    )
