"""Everything a run varies, drawn from its seed."""

from dataclasses import dataclass, replace
from random import Random

from dataplane.consensus.config import Limits
from dataplane.simulation.plan import (
    BitFlip,
    Fault,
    LogLoss,
    draw_bit_flip,
    draw_blackout,
    draw_crash,
    draw_cut,
    draw_full_disk,
    draw_log_loss,
    draw_row_flip,
)
from dataplane.simulation.schedule import EVERYTHING, Schedule
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
    "forger",
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
PRIMARY_BEHAVIOURS = ("equivocating_primary", "open_equivocator", "open_equivocator")
APPLICATIONS = ("kv", "documents")
TRANSFER_BEHAVIOURS = ("bad_parts", "stale_state", "never_finishes")
CALM_PERCENT = 15
TRANSFER_LIAR_PERCENT = 40
SMALL_RETENTION_PERCENT = 60
LOG_LOSS_PERCENT = 10
ROW_FLIP_PERCENT = 20
TORN_PERCENT = 70
FLIP_PERCENT = 12
WRONG_CLOCK_PERCENT = 15
SLOW_SYNC_MS = 250


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """One run's cluster, load and faults."""

    seed: int
    n: int
    application: str
    limits: Limits
    byzantine: tuple[tuple[int, str], ...]
    twins: frozenset[int] = frozenset()
    """Replicas that run twice, both honest, with one key: together each pair is a liar."""
    loss: float
    duplication: float
    delay_max_ms: int
    sync_max_ms: int
    slow_disks: frozenset[int]
    skew_max_ms: int
    wrong_clocks: tuple[tuple[int, int], ...]
    """Replicas whose clock is further off than the protocol bears, and by how much."""
    drift_max_ppm: int
    torn: bool
    faults: tuple[Fault, ...]
    requests: tuple[int, ...]
    """At which replica's gateway each request is asked."""
    request_every_ms: int
    faults_until_ms: int
    schedule: Schedule = EVERYTHING

    @property
    def liars(self) -> frozenset[int]:
        """The ids of the Byzantine replicas."""
        return self.twins.union(replica for replica, _ in self.byzantine)

    @property
    def is_beyond_model(self) -> bool:
        """Whether more replicas lie than the protocol bears."""
        return len(self.liars) > faults_tolerated(self.n)

    @property
    def unable(self) -> frozenset[int]:
        """The replicas whose vote is lost: liars, those without their log, or without the time."""
        damaged = {fault.node for fault in self.faults if isinstance(fault, BitFlip | LogLoss)}
        return self.liars.union(damaged, (replica for replica, _ in self.wrong_clocks))

    @property
    def is_live(self) -> bool:
        """Whether requests must be answered: as long as the able ones are a quorum."""
        return len(self.unable) <= self.n - quorum_size(self.n)

    def describe(self) -> str:
        """Return one line about the run."""
        liars = [f"{replica}:{name}" for replica, name in self.byzantine]
        liars += [f"{replica}:twin" for replica in sorted(self.twins)]
        return (
            f"n={self.n} K={self.limits.checkpoint_interval} L={self.limits.window} "
            f"ALPHA={self.limits.pipeline} loss={self.loss} dup={self.duplication} "
            f"delay={self.delay_max_ms} retained={self.limits.retained_batches_max} "
            f"faults={','.join(f.name for f in self.faults) or 'none'} "
            f"liars={','.join(liars) or 'none'} requests={len(self.requests)} "
            f"app={self.application}"
        )


def draw_options(
    seed: int, application: str = "kv", schedule: Schedule | None = None, *, beyond: bool = False
) -> Options:
    """Draw a run from its seed; with `beyond`, with more liars than the protocol bears."""
    rng = Random(seed)
    n = rng.choice(REPLICA_COUNTS[1:] if beyond else REPLICA_COUNTS)
    liar_count = faults_tolerated(n) + 1 if beyond else rng.randint(0, faults_tolerated(n))
    # Beyond the model the first primary is among the liars: else most runs would show nothing.
    first = [0] if beyond else []
    others = range(len(first), n)
    liars = sorted([*first, *rng.sample(others, liar_count - len(first))])
    interval = rng.choice((2, 4, 8, 16))
    window = interval * rng.choice((2, 2, 4))
    calm = rng.randint(1, 100) <= CALM_PERCENT
    until_ms = rng.randint(1_000, 4_000)
    request_count = rng.randint(30, 110) if n < 7 else rng.randint(20, 45)
    honest = [replica for replica in range(n) if replica not in liars]
    options = Options(
        seed=seed,
        n=n,
        application=application,
        limits=_draw_limits(rng, interval, window),
        byzantine=tuple(
            (replica, _draw_attack(replica) if beyond else _draw_behaviour(rng, replica))
            for replica in liars
        ),
        loss=0.0 if calm else rng.choice((0.0, 0.01, 0.05, 0.2)),
        duplication=0.0 if calm else rng.choice((0.0, 0.02, 0.2)),
        delay_max_ms=rng.choice((2, 10, 50, 150)),
        sync_max_ms=rng.choice((1, 3, 20)),
        slow_disks=frozenset(rng.sample(range(n), rng.choice((0, 0, 0, 1)))),
        skew_max_ms=rng.choice((0, 0, 500, 4_000)),
        wrong_clocks=(),
        drift_max_ppm=rng.choice((0, 0, 200, 50_000)),
        torn=rng.randint(1, 100) <= TORN_PERCENT,
        faults=() if calm else _draw_faults(rng, n, honest, until_ms),
        requests=tuple(rng.choice(honest) for _ in range(request_count)),
        request_every_ms=rng.choice((3, 10, 40)),
        faults_until_ms=until_ms,
    )
    spare = n - quorum_size(n) - liar_count
    options = _draw_unable(rng, options, honest, spare)
    options = _draw_transfer(options, honest, spare, Random(f"{seed} transfer"))
    return options if schedule is None else reduced(options, schedule)


def _draw_transfer(options: Options, honest: list[int], spare: int, rng: Random) -> Options:
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
    options = replace(options, limits=limits)
    if options.is_beyond_model:
        return options
    # The first primary stays what it is.
    byzantine = tuple(
        (replica, rng.choice(TRANSFER_BEHAVIOURS))
        if replica and rng.randint(1, 100) <= TRANSFER_LIAR_PERCENT
        else (replica, name)
        for replica, name in options.byzantine
    )
    options = replace(options, byzantine=byzantine)
    # In all no more fail than the cluster bears.
    if spare < 1 or not options.faults or options.unable - options.liars:
        return options
    chance, victim, until_ms = rng.randint(1, 100), rng.choice(honest), options.faults_until_ms
    more: tuple[Fault, ...] = ()
    if chance <= LOG_LOSS_PERCENT:
        more = (draw_log_loss(rng, "amnesia.0", victim, until_ms),)
    elif chance <= LOG_LOSS_PERCENT + ROW_FLIP_PERCENT:
        more = (draw_row_flip(rng, "row.0", victim, until_ms),)
    return replace(options, faults=(*options.faults, *more))


def reduced(options: Options, schedule: Schedule) -> Options:
    """Return the options with only what the schedule keeps."""
    keeps = schedule.keeps
    until_ms = schedule.until_ms or options.faults_until_ms
    return replace(
        options,
        byzantine=tuple(liar for liar in options.byzantine if keeps(f"liar.{liar[0]}")),
        loss=options.loss if keeps("loss") else 0.0,
        duplication=options.duplication if keeps("duplication") else 0.0,
        delay_max_ms=options.delay_max_ms if keeps("delay") else 1,
        sync_max_ms=options.sync_max_ms if keeps("slow_sync") else 1,
        slow_disks=options.slow_disks if keeps("slow_sync") else frozenset(),
        skew_max_ms=options.skew_max_ms if keeps("skew") else 0,
        wrong_clocks=options.wrong_clocks if keeps("skew") else (),
        drift_max_ppm=options.drift_max_ppm if keeps("drift") else 0,
        torn=options.torn and keeps("torn"),
        faults=tuple(fault for fault in options.faults if keeps(fault.name)),
        requests=tuple(
            replica for index, replica in enumerate(options.requests) if keeps(f"request.{index}")
        ),
        faults_until_ms=min(until_ms, options.faults_until_ms),
        schedule=schedule,
    )


def _draw_faults(rng: Random, n: int, honest: list[int], until_ms: int) -> tuple[Fault, ...]:
    """Draw faults that pass."""
    kinds = (
        ("cut", rng.randint(0, 3), draw_cut, list(range(n))),
        ("crash", rng.randint(0, 4), draw_crash, honest),
        ("blackout", rng.choice((0, 0, 1, 2)), draw_blackout, honest),
        ("full", rng.choice((0, 0, 0, 1)), draw_full_disk, honest),
    )
    return tuple(
        draw(Random(f"{rng.random()} {kind}"), f"{kind}.{index}", nodes, until_ms)
        for kind, count, draw, nodes in kinds
        for index in range(count)
    )


def _draw_unable(rng: Random, options: Options, honest: list[int], spare: int) -> Options:
    """Draw faults that stay, of no more replicas than the cluster can spare besides its liars."""
    chance, victim, place = rng.randint(1, 100), rng.choice(honest), rng.random()
    hour_ms = rng.choice((-3_600_000, 3_600_000))
    if spare < 1 or not options.faults:
        return options
    if chance <= FLIP_PERCENT:
        flip = draw_bit_flip(Random(f"{place}"), "flip.0", victim, options.faults_until_ms)
        return replace(options, faults=(*options.faults, flip))
    too_many_liars = len(options.liars) >= faults_tolerated(options.n)
    if chance <= FLIP_PERCENT + WRONG_CLOCK_PERCENT and not too_many_liars:
        return replace(options, wrong_clocks=((victim, hour_ms),))
    return options


def _draw_attack(replica: int) -> str:
    return "double_voter" if replica else "equivocating_primary"


def _draw_behaviour(rng: Random, replica: int) -> str:
    behaviours: tuple[str, ...] = BEHAVIOURS if rng.randint(0, 1) else VIEW_BEHAVIOURS
    if replica == 0:
        return rng.choice((*PRIMARY_BEHAVIOURS, *behaviours))
    return rng.choice(behaviours)


def _draw_limits(rng: Random, interval: int, window: int) -> Limits:
    return Limits(
        checkpoint_interval=interval,
        window=window,
        pipeline=rng.choice((1, 2, window // 2, window)),
        batch_ops_max=rng.choice((2, 3, 8)),
        batch_bytes_max=rng.choice((300, 64 * 1024)),
        batch_delay_ms=rng.choice((0, 2, 10)),
        pending_requests_max=rng.choice((24, 200)),
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
