"""Everything a run varies, drawn from its seed."""

from dataclasses import dataclass, replace
from functools import cached_property
from random import Random

from dataplane.consensus.config import Limits
from dataplane.documents.membership import EPOCH_TAIL
from dataplane.simulation.membership import Change, draw_epochs, is_borne
from dataplane.simulation.plan import (
    BitFlip,
    Cut,
    Death,
    Fault,
    LogLoss,
    RowFlip,
    draw_bit_flip,
    draw_blackout,
    draw_crash,
    draw_cut,
    draw_end_crash,
    draw_full_disk,
    draw_log_loss,
    draw_row_flip,
    with_added,
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
MEMBERS_PERCENT = 35
CHANGING_MAX = 7
DEATH_PERCENT = 30
ADDED_LIAR_PERCENT = 25
ORDER_BYTES_MAX = 4_096
TORN_PERCENT = 70
FLIP_PERCENT = 12
WRONG_CLOCK_PERCENT = 15
SLOW_SYNC_MS = 250


@dataclass(frozen=True, kw_only=True)
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
    changes: tuple[Change, ...] = ()
    """Other members, one epoch after the other."""
    schedule: Schedule = EVERYTHING

    @cached_property
    def liars(self) -> frozenset[int]:
        """The ids of the Byzantine replicas."""
        return self.twins.union(replica for replica, _ in self.byzantine)

    @cached_property
    def epochs(self) -> tuple[tuple[int, ...], ...]:
        """The members of each epoch."""
        return (tuple(range(self.n)), *(change.members for change in self.changes))

    @cached_property
    def replicas(self) -> tuple[int, ...]:
        """Everybody who is a member at some time."""
        return tuple(sorted({replica for members in self.epochs for replica in members}))

    def members(self, epoch: int) -> tuple[int, ...]:
        """Return who the members of an epoch are."""
        return self.changes[epoch - 1].members if epoch else tuple(range(self.n))

    @cached_property
    def is_beyond_model(self) -> bool:
        """Whether more replicas lie than the protocol bears."""
        return any(
            len(self.liars.intersection(members)) > faults_tolerated(len(members))
            for members in self.epochs
        )

    @cached_property
    def unable(self) -> frozenset[int]:
        """Replicas whose vote is lost: liars, dead ones, those without their log or the time."""
        lasting = (BitFlip, LogLoss, Death)
        damaged = {fault.node for fault in self.faults if isinstance(fault, lasting)}
        return self.liars.union(damaged, (replica for replica, _ in self.wrong_clocks))

    @cached_property
    def is_live(self) -> bool:
        """Whether requests must be answered: as long as the able ones are a quorum."""
        return all(is_borne(members, liars=(), mute=self.unable) for members in self.epochs)

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
            f"members={'/'.join(','.join(map(str, m)) for m in self.epochs[1:]) or 'same'} "
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
    if not beyond:
        options = _draw_members(options, Random(f"{seed} members"))
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


def _draw_members(options: Options, rng: Random) -> Options:
    """Draw changes of the members, with crashes around the ends of epochs."""
    limits = options.limits
    if options.application == "documents":
        # There the end of an epoch follows the order by a number that every version agrees on.
        limits = replace(limits, pipeline=min(limits.pipeline, EPOCH_TAIL))
    options = replace(options, limits=limits)
    count = rng.choice((1, 1, 2, 3))
    dies = rng.randint(1, 100) <= DEATH_PERCENT
    if rng.randint(1, 100) > MEMBERS_PERCENT or options.n > CHANGING_MAX:
        return options
    first, until_ms = tuple(range(options.n)), options.faults_until_ms
    # A damaged state is repaired; until then its node gives no vote that counts.
    flipped = {fault.node for fault in options.faults if isinstance(fault, RowFlip)}
    useless = options.unable | flipped
    able = [replica for replica in first if replica not in useless]
    if dies and able and is_borne(first, liars=(), mute={*useless, able[-1]}):
        death = Death("death.0", rng.randint(0, until_ms // 2), able[-1])
        options = replace(options, faults=(*options.faults, death))
        useless |= {death.node}
    epochs = draw_epochs(rng, first, liars=options.liars, mute=useless, count=count)
    options = replace(
        options,
        changes=tuple(
            Change(f"members.{index}", rng.randint(0, until_ms), members)
            for index, members in enumerate(epochs)
        ),
        limits=replace(limits, batch_bytes_max=max(limits.batch_bytes_max, ORDER_BYTES_MAX)),
    )
    return _with_added(options, rng)


def _with_added(options: Options, rng: Random) -> Options:
    """Draw lies, requests and faults of the nodes that come later."""
    byzantine = list(options.byzantine)
    flipped = {fault.node for fault in options.faults if isinstance(fault, RowFlip)}
    for replica in options.replicas[options.n :]:
        liars = {replica, *dict(byzantine)}
        is_bad = rng.randint(1, 100) <= ADDED_LIAR_PERCENT
        mute = liars | options.unable | flipped
        if is_bad and all(is_borne(m, liars=liars, mute=mute) for m in options.epochs):
            byzantine.append((replica, _draw_behaviour(rng, replica)))
    honest = [r for r in options.replicas if r not in dict(byzantine) and r not in options.twins]
    count, until_ms = len(options.requests) // 3, options.faults_until_ms
    tail = options.limits.pipeline
    faults: list[Fault] = [
        with_added(fault, options.n, options.replicas[-1] + 1) if isinstance(fault, Cut) else fault
        for fault in options.faults
    ]
    if options.faults:
        hit = [epoch for epoch in range(len(options.changes)) if rng.randint(0, 1)]
        faults.extend(draw_end_crash(rng, epoch, honest, tail) for epoch in hit)
        faults.append(draw_crash(rng, "crash.9", honest, until_ms))
    return replace(
        options,
        byzantine=tuple(byzantine),
        requests=(*options.requests, *(rng.choice(honest) for _ in range(count))),
        faults=tuple(faults),
    )


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
        changes=tuple(change for change in options.changes if keeps(change.name)),
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
