"""The world: virtual time, the nodes, the network, the faults, the checkers."""

import heapq
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from dataplane.consensus.config import MemberKeys, ReplicaConfig
from dataplane.consensus.messages import AnyMessage, encode_message
from dataplane.consensus.outcome import Alarm, PeerFault
from dataplane.documents.types import RequestResult
from dataplane.simulation.application import Workload
from dataplane.simulation.byzantine.behaviour import Conspiracy
from dataplane.simulation.byzantine.catalogue import behaviour_of
from dataplane.simulation.checkers.suite import CheckerSuite
from dataplane.simulation.errors import ViolationError
from dataplane.simulation.gateway import Gateway
from dataplane.simulation.network import Network
from dataplane.simulation.node import Node
from dataplane.simulation.options import Options
from dataplane.simulation.signatures import FakeVerifier, signer_of
from dataplane.simulation.trace import Trace, describe
from dataplane.wire.quorum import reply_quorum

CLUSTER_ID = b"simulated-world!"
START_MS = 1_000_000
LOAD_EVERY_MS = 50
HEALED_MAX_MS = 120_000
CHECK_DONE_EVERY_MS = 100
MUST_NOT_BE = ("diverged", "root_changed", "state_damaged", "copy_damaged")


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a run ended."""

    seed: int
    violation: str | None
    trace_digest: str
    counters: dict[str, int]
    virtual_ms: int


class World:
    """One run."""

    def __init__(self, options: Options, trace: Trace) -> None:
        self.options = options
        self.trace = trace
        self.rng = Random(options.seed + 1)
        self.now_ms = START_MS
        self.workload = Workload(options.application)
        self.network = Network(options, self.rng)
        self.counters: Counter[str] = Counter()
        self.checkers = CheckerSuite(options)
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._pushed = 0
        self._last: tuple[AnyMessage, tuple[bytes, str]] | None = None
        signers = [signer_of("vote", replica) for replica in range(options.n)]
        gateways = [signer_of("gateway", replica) for replica in range(options.n)]
        members = tuple(
            MemberKeys(replica, signers[replica].public_key, gateways[replica].public_key)
            for replica in range(options.n)
        )
        verifier = FakeVerifier([*signers, *gateways])
        conspiracy = Conspiracy(CLUSTER_ID, self.rng, options.liars, options.n)
        behaviours = dict(options.byzantine)
        self.nodes: dict[int, Node] = {}
        for replica in range(options.n):
            name = behaviours.get(replica)
            self.nodes[replica] = Node(
                self,
                ReplicaConfig(
                    cluster_id=CLUSTER_ID,
                    epoch=0,
                    replica_id=replica,
                    members=members,
                    limits=options.limits,
                ),
                signer=signers[replica],
                verifier=verifier,
                gateway=Gateway(
                    cluster_id=CLUSTER_ID,
                    node_id=replica,
                    needed=reply_quorum(options.n),
                    signer=gateways[replica],
                    workload=self.workload,
                    rng=self.rng,
                ),
                behaviour=(
                    None if name is None else behaviour_of(name, signers[replica], conspiracy)
                ),
                skew_ms=self.rng.randint(0, options.skew_max_ms),
            )

    @property
    def honest(self) -> list[Node]:
        """The nodes that follow the protocol."""
        return [node for node in self.nodes.values() if not node.is_liar]

    # --- Time -----------------------------------------------------------------------------------

    @property
    def elapsed_ms(self) -> int:
        """Virtual time since the beginning."""
        return self.now_ms - START_MS

    def at(self, at_ms: int, action: Callable[[], None]) -> None:
        """Do something at a time; equal times in the order of the calls."""
        self._pushed += 1
        heapq.heappush(self._heap, (at_ms, self._pushed, action))

    def later(self, delay_ms: int, action: Callable[[], None]) -> None:
        """Do something after a delay."""
        self.at(self.now_ms + delay_ms, action)

    def count(self, what: str) -> None:
        """Note that something happened, for the coverage of a sweep."""
        self.counters[what] += 1

    # --- The run --------------------------------------------------------------------------------

    def run(self) -> None:
        """Run to the end.

        Raises:
            ViolationError: A checker found a broken promise.
        """
        self.trace.line(0, self.options.describe())
        for node in self.nodes.values():
            node.start()
        self._schedule_load()
        self._schedule_faults()
        self.at(START_MS + self.options.faults_until_ms, self._heal)
        finished = False
        while self._heap and not finished:
            at_ms, _, action = heapq.heappop(self._heap)
            assert at_ms >= self.now_ms
            self.now_ms = at_ms
            try:
                action()
            except AssertionError as error:
                raise ViolationError("core_assertion", repr(error)) from error
            finished = self.network.healed and self._is_over()
        self.checkers.at_end(self)

    def _is_over(self) -> bool:
        healed_at = START_MS + self.options.faults_until_ms
        if self.now_ms - healed_at > HEALED_MAX_MS:
            return True
        if not self.options.is_live:
            return self.now_ms - healed_at > 1_000
        return self.checkers.is_quiet(self)

    def _schedule_load(self) -> None:
        honest = self.honest
        for _ in range(self.options.request_count):
            self.rng.choice(honest).gateway.remaining += 1
        for node in honest:
            self._load(node)

    def _load(self, node: Node) -> None:
        node.load()
        every = self.options.request_every_ms * 2
        busy = node.gateway.remaining > 0
        self.later(self.rng.randint(1, every) if busy else LOAD_EVERY_MS, lambda: self._load(node))

    # --- Faults ---------------------------------------------------------------------------------

    def _schedule_faults(self) -> None:
        rng, options = self.rng, self.options
        for _ in range(options.partition_count):
            self.at(START_MS + rng.randint(0, options.faults_until_ms), self._split)
        for _ in range(options.crash_count):
            at_ms = START_MS + rng.randint(0, options.faults_until_ms)
            self.at(at_ms, lambda: self._crash([rng.choice(self.honest)]))
        for _ in range(options.correlated_crashes):
            at_ms = START_MS + rng.randint(0, options.faults_until_ms)
            self.at(at_ms, lambda: self._crash(self.honest))

        if options.amnesiac is not None:
            node = self.nodes[options.amnesiac]
            at_ms = START_MS + rng.randint(0, options.faults_until_ms)
            self.at(at_ms, lambda: self._lose_log(node))
        if options.flipped is not None:
            flipped = self.nodes[options.flipped]
            at_ms = START_MS + rng.randint(0, options.faults_until_ms)
            self.at(at_ms, lambda: self._flip(flipped))

    def _lose_log(self, node: Node) -> None:
        self._crash([node])
        if node.replica is None:
            node.lose_log()
            self.count("amnesia")
            self.trace.line(self.elapsed_ms, f"log of {node.id} lost")

    def _flip(self, node: Node) -> None:
        if node.replica is not None and node.flip():
            self.count("flip")
            self.trace.line(self.elapsed_ms, f"flip {node.id}")

    def _split(self) -> None:
        if self.network.healed:
            return
        sides = {replica: self.rng.randint(0, 1) for replica in self.nodes}
        self.network.split(sides)
        self.count("partition")
        self.trace.line(self.elapsed_ms, f"split {list(sides.values())}")
        self.later(self.rng.randint(50, 1_500), self._join)

    def _join(self) -> None:
        self.network.join()
        self.trace.line(self.elapsed_ms, "join")

    def _crash(self, nodes: list[Node]) -> None:
        if self.network.healed:
            return
        for node in nodes:
            if node.replica is None:
                continue
            node.crash(torn=self.options.torn)
            self.count("crash")
            applied = node.executor.applied
            self.trace.line(self.elapsed_ms, f"crash {node.id} keeps {applied}")
            self.later(self.rng.randint(1, 800), lambda node=node: self._restart(node))  # type: ignore[misc]

    def _restart(self, node: Node) -> None:
        if node.replica is None:
            self.trace.line(self.elapsed_ms, f"restart {node.id}")
            node.start()

    def _heal(self) -> None:
        self.trace.line(self.elapsed_ms, "heal")
        self.network.heal()
        for node in self.nodes.values():
            self._restart(node)

    # --- What nodes report ----------------------------------------------------------------------

    def send(self, source: int, target: int, message: AnyMessage) -> None:
        """Put a message on the network."""
        delays_ms = self.network.arrivals(source, target)
        if not delays_ms:
            return
        payload, said = self._encoded(message)
        for delay_ms in delays_ms:
            self.later(delay_ms, lambda: self._deliver(source, target, payload, said))

    def _encoded(self, message: AnyMessage) -> tuple[bytes, str]:
        """Encode and describe a message, once for all receivers of a broadcast."""
        if self._last is None or self._last[0] is not message:
            self._last = (message, (encode_message(message), describe(message)))
        return self._last[1]

    def _deliver(self, source: int, target: int, payload: bytes, said: str) -> None:
        self.counters["delivered"] += 1
        self.trace.line(self.elapsed_ms, f"{source}>{target} {said}")
        self.nodes[target].receive(source, payload)

    def on_alarm(self, node: Node, alarm: Alarm) -> None:
        """Note an alarm; divergence is one only where a bit was flipped."""
        self.count(f"alarm.{alarm.code}")
        if node.is_liar:
            return
        self.trace.line(self.elapsed_ms, f"alarm {node.id} {alarm.code}")
        if alarm.code in MUST_NOT_BE and not node.was_damaged:
            raise ViolationError("roots", f"node {node.id} says {alarm.code}: {alarm.detail}")

    def on_peer_fault(self, node: Node, fault: PeerFault) -> None:
        """Note that a peer was caught serving what its own word proves false."""
        self.count("peer_fault")
        self.trace.line(self.elapsed_ms, f"fault {node.id} of {fault.replica}: {fault.detail}")
        culprit = self.nodes[fault.replica]
        if not node.is_liar and not culprit.is_liar and not culprit.was_damaged:
            raise ViolationError("evidence", f"node {node.id} blames honest node {culprit.id}")

    def on_acknowledged(self, node: Node, result: RequestResult) -> None:
        """Note that a gateway has its answer."""
        self.count("acknowledged")
        self.trace.line(self.elapsed_ms, f"answered {node.id} c{result.cseq} s{result.sequence}")
        self.checkers.on_acknowledged(node, result)


def run_world(options: Options, trace: Trace) -> RunResult:
    """Run one seed and return how it ended."""
    world = World(options, trace)
    violation = None
    try:
        world.run()
    except ViolationError as error:
        violation = str(error)
        trace.line(world.elapsed_ms, f"VIOLATION {violation}")
    return RunResult(
        options.seed,
        violation,
        trace.digest,
        dict(sorted(world.counters.items())),
        world.elapsed_ms,
    )
