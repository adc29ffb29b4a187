"""Twins: an honest replica that runs twice with one key is a liar without any code of attack.

Bano et al., "Twins: BFT Systems Made Robust" (arXiv 2004.10617). Two copies of one identity, cut
off from each other in one round and joined in the next, equivocate, vote twice and forget what they
said. The partitions of all rounds are enumerated, not drawn: scenario `index` has its own one for
each round, and every scenario of a family is another.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from dataplane.consensus.config import Limits
from dataplane.simulation.options import Options
from dataplane.simulation.plan import Cut

PHASE_MS = 4
"""About as long as one phase takes when nothing is delayed."""
VIEW_MS = 900
"""Long enough to leave a view and begin the next."""
LIMITS = Limits(
    checkpoint_interval=2,
    window=8,
    pipeline=4,
    batch_ops_max=2,
    batch_delay_ms=0,
    retransmit_ms=60,
    status_ms=150,
    heartbeat_ms=100,
    heartbeat_timeout_ms=400,
    request_timeout_min_ms=400,
    view_timeout_ms=400,
)


@dataclass(frozen=True, slots=True)
class Family:
    """All scenarios of one cluster: which replicas are twins, how many rounds, how long."""

    n: int
    twins: tuple[int, ...]
    rounds: int
    round_ms: int

    @property
    def text(self) -> str:
        """The family as the command line names it: n:ids:rounds:ms."""
        return f"{self.n}:{','.join(map(str, self.twins))}:{self.rounds}:{self.round_ms}"

    @property
    def instances(self) -> range:
        """The replicas, and behind them the second copies."""
        return range(self.n + len(self.twins))

    @property
    def splits(self) -> int:
        """In how many ways the instances fall into two sides, the whole in one included."""
        return 1 << (len(self.instances) - 1)

    @property
    def size(self) -> int:
        """How many scenarios there are."""
        return int(self.splits**self.rounds)

    def options(self, index: int) -> Options:
        """Return one scenario."""
        assert 0 <= index < self.size
        honest = [replica for replica in range(self.n) if replica not in self.twins]
        cuts, left = [], index
        for position in range(self.rounds):
            left, split = divmod(left, self.splits)
            cuts.append(self._cut(position, split))
        return Options(
            seed=index,
            n=self.n,
            application="kv",
            limits=LIMITS,
            byzantine=(),
            twins=frozenset(self.twins),
            loss=0.0,
            duplication=0.0,
            delay_max_ms=1,
            sync_max_ms=1,
            slow_disks=frozenset(),
            skew_max_ms=0,
            wrong_clocks=(),
            drift_max_ppm=0,
            torn=False,
            faults=tuple(cuts),
            requests=tuple(honest[number % len(honest)] for number in range(3 * self.rounds)),
            request_every_ms=max(1, self.round_ms // 4),
            faults_until_ms=self.rounds * self.round_ms,
        )

    def _cut(self, position: int, split: int) -> Cut:
        # The last instance is on side 0: which side is called so makes no difference.
        sides = [split >> instance & 1 for instance in self.instances]
        blocked = frozenset(
            (a, b) for a in self.instances for b in self.instances if sides[a] != sides[b]
        )
        start_ms = position * self.round_ms
        return Cut(f"cut.{position}", start_ms, start_ms + self.round_ms, "round", blocked)

    def scenarios(self, step: int = 1) -> Sequence[int]:
        """Return every `step`-th index."""
        return range(0, self.size, step)


def parse_family(text: str) -> Family:
    """Read what `Family.text` wrote.

    Raises:
        ValueError: It is not four numbers, or a twin is no replica.
    """
    n, twins, rounds, round_ms = text.split(":")
    family = Family(int(n), tuple(map(int, twins.split(","))), int(rounds), int(round_ms))
    if not all(0 <= twin < family.n for twin in family.twins):
        raise ValueError("a twin is no replica")
    return family
