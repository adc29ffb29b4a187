"""The world: virtual time, the nodes, the network, the faults, the checkers."""

import heapq
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from random import Random

from dataplane.consensus.messages import AnyMessage, decode_message, encode_batch, encode_message
from dataplane.consensus.records import Decided, MadeStable, decode_record
from dataplane.documents.types import Configuration
from dataplane.replication.peer_messages import decode_peer_message, encode_peer_message
from dataplane.simulation.application import Workload
from dataplane.simulation.byzantine.behaviour import Conspiracy
from dataplane.simulation.byzantine.catalogue import behaviour_of
from dataplane.simulation.chain import Chain
from dataplane.simulation.checkers.suite import CheckerSuite
from dataplane.simulation.control_plane import ControlPlane
from dataplane.simulation.coverage import Coverage
from dataplane.simulation.errors import ViolationError
from dataplane.simulation.faults import Faults
from dataplane.simulation.gateway import Gateway
from dataplane.simulation.membership import member
from dataplane.simulation.network import Network
from dataplane.simulation.node import Node
from dataplane.simulation.options import Options
from dataplane.simulation.schedule import Delivery
from dataplane.simulation.signatures import FakeVerifier, signer_of
from dataplane.simulation.trace import Aside, Trace
from dataplane.wire.quorum import reply_quorum

CLUSTER_ID = b"simulated-world!"
START_MS = 1_000_000_000
LOAD_EVERY_MS = 50
HEALED_MAX_MS = 120_000
BEYOND_MS = 5_000
"""Time enough for a lie to show."""
UNABLE_MS = 1_000
UNDER_WAY_MAX = 100_000
"""Messages and timers that wait at once; more means that answers breed answers."""


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a run ended."""

    seed: int
    violation: str | None
    trace_digest: str
    counters: dict[str, int]
    virtual_ms: int
    noticed: tuple[str, ...] = ()
    """Beyond the model: which promises broke."""

    @property
    def is_silent_fork(self) -> bool:
        """Whether honest replicas executed different batches, and none noticed or proved it."""
        has_forked, is_noticed, is_provable, is_proved = (
            bool(self.counters.get(what))
            for what in ("forked", "fork_noticed_by_replicas", "fork_provable", "evidence")
        )
        return has_forked and (not is_noticed or (is_provable and not is_proved))

    @property
    def checker(self) -> str | None:
        """The checker that found the violation."""
        return None if self.violation is None else self.violation.partition(":")[0]


class World:
    """One run."""

    def __init__(self, options: Options, trace: Trace) -> None:
        self.options = options
        self.trace = trace
        self.now_ms = START_MS
        self.cluster_id = CLUSTER_ID
        self.workload = Workload(
            options.application,
            cluster_id=CLUSTER_ID,
            members=tuple(map(member, range(options.n))),
            tail=options.limits.pipeline,
        )
        self.network = Network(options)
        self.counters: Counter[str] = Counter()
        self.acting: Node | None = None
        """Whose core was last called."""
        self.coverage = Coverage(options, self.counters)
        self.checkers = CheckerSuite(options, self.coverage)
        self.faults = Faults(self)
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._pushed = 0
        self._last: tuple[AnyMessage, tuple[AnyMessage, bytes]] | None = None
        self.ids: tuple[int, ...] = ()
        """Every replica that exists so far."""
        self._verifier = FakeVerifier(
            [
                signer_of(kind, replica)
                for kind in ("vote", "gateway")
                for replica in options.replicas
            ]
        )
        chance = Random(f"{options.seed} liars")
        self._conspiracy = Conspiracy(CLUSTER_ID, chance, options.liars, options.n)
        self.control_plane = ControlPlane(self)
        self.chain = Chain(range(options.n), options.liars)
        self.nodes: dict[int, Node] = {}
        """By instance: the replicas by their ids, then the second copies of twins."""
        self.honest: list[Node] = []
        """The nodes that follow the protocol."""
        self._instances: dict[int, tuple[int, ...]] = {}
        self._make_nodes()

    def _make_nodes(self) -> None:
        options = self.options
        first = tuple(map(member, range(options.n)))
        for instance, replica in enumerate([*range(options.n), *sorted(options.twins)]):
            self._make_node(instance, replica, Configuration(0, 0, first))

    def _make_node(self, instance: int, replica: int, specification: Configuration) -> Node:
        signer, gateway = signer_of("vote", replica), signer_of("gateway", replica)
        name = dict(self.options.byzantine).get(replica)
        self._instances[replica] = (*self._instances.get(replica, ()), instance)
        self.ids = tuple(sorted(self._instances))
        node = self.nodes[instance] = Node(
            self,
            specification,
            replica_id=replica,
            signer=signer,
            verifier=self._verifier,
            gateway=Gateway(
                cluster_id=CLUSTER_ID,
                node_id=replica,
                needed=reply_quorum(len(specification.members)),
                signer=gateway,
                workload=self.workload,
                rng=Random(f"{self.options.seed} gateway {replica}"),
            ),
            behaviour=None if name is None else behaviour_of(name, signer, self._conspiracy),
            instance=instance,
        )
        if not node.is_liar:
            self.honest.append(node)
        return node

    def add_learner(self, replica: int, specification: Configuration) -> None:
        """Start a node that learns from these members."""
        self.say(f"node {replica} begins to learn in epoch {specification.epoch}")
        node = self._make_node(replica, replica, specification)
        node.gateway.remaining = self.options.requests.count(replica)
        node.start()
        if not node.is_liar:
            self._load(node, Random(f"{self.options.seed} load {node.id}"))

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

    def say(self, text: str) -> None:
        """Add a line to the trace."""
        self.trace.line(self.elapsed_ms, text)

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
        self.faults.schedule()
        self.control_plane.schedule()
        while self._heap:
            if len(self._heap) > UNDER_WAY_MAX:
                raise ViolationError("flood", f"{len(self._heap)} events are under way")
            at_ms, _, action = heapq.heappop(self._heap)
            assert at_ms >= self.now_ms
            # All that happens at one time is seen before the run may end.
            if at_ms > self.now_ms and self.network.healed and self._is_over():
                break
            self.now_ms = at_ms
            try:
                action()
            except AssertionError as error:
                self._stumbled(error)
        self.checkers.at_end(self)

    def _stumbled(self, error: AssertionError) -> None:
        """Stop a node whose core found itself broken; within the model only a liar's may."""
        node = self.acting
        assert node is not None
        if not node.is_liar:
            if not self.options.is_beyond_model:
                raise ViolationError("core_assertion", repr(error)) from error
            self.checkers.noticed.append(f"core_assertion: node {node.id} {error!r}")
        node.replica = None

    def _is_over(self) -> bool:
        healed_at = START_MS + self.options.faults_until_ms
        if self.now_ms - healed_at > HEALED_MAX_MS:
            return True
        if self.options.is_beyond_model and self.now_ms - healed_at <= BEYOND_MS:
            return False
        if not self.options.is_live:
            return self.now_ms - healed_at > UNABLE_MS
        return self.checkers.is_quiet(self)

    def _schedule_load(self) -> None:
        for replica in self.options.requests:
            if replica in self.nodes:
                self.nodes[replica].gateway.remaining += 1
        for node in self.honest:
            self._load(node, Random(f"{self.options.seed} load {node.id}"))

    def _load(self, node: Node, chance: Random) -> None:
        node.load()
        every = self.options.request_every_ms * 2
        busy = node.gateway.remaining > 0 and node.is_member
        delay_ms = 1 + int(chance.random() * every) if busy else LOAD_EVERY_MS
        self.later(delay_ms, lambda: self._load(node, chance))

    # --- What nodes report ----------------------------------------------------------------------

    def send(self, source: int, target: int, message: AnyMessage) -> None:
        """Put a message of an instance on the network; every instance of the target gets it.

        One for nobody there is lost, as it would be on a real network.
        """
        for instance in self._instances.get(target, ()):
            index, delays_ms = self.network.arrivals(source, instance)
            if not delays_ms:
                continue
            arrived, payload = self._encoded(message)
            for delay_ms in delays_ms:
                delivery = (source, instance, index)
                self.later(delay_ms, partial(self._deliver, delivery, arrived, payload))

    def send_aside(self, source: int, target: int, message: Aside) -> None:
        """Put a message beside the protocol on the network; it meets a fate of its own."""
        payload = encode_peer_message(message)
        for instance in self._instances.get(target, ()):
            index, delays_ms = self.network.arrivals(source, instance, aside=True)
            for delay_ms in delays_ms:
                arrived = decode_peer_message(payload)
                assert isinstance(arrived, Aside.__value__)
                delivery = (source, instance, index)
                self.later(delay_ms, partial(self._deliver, delivery, arrived, payload))

    def _encoded(self, message: AnyMessage) -> tuple[AnyMessage, bytes]:
        """Encode a message and decode it, once for all receivers of a broadcast."""
        if self._last is None or self._last[0] is not message:
            payload = encode_message(message)
            self._last = (message, (decode_message(payload), payload))
        return self._last[1]

    def _deliver(self, delivery: Delivery, message: AnyMessage | Aside, payload: bytes) -> None:
        source, target, _ = delivery
        self.counters["delivered"] += 1
        if not self.network.healed:
            self.network.delivered.append(delivery)
        self.trace.delivery(self.elapsed_ms, delivery, message, payload)
        self.nodes[target].receive(self.nodes[source].id, message)


NOTICES = ("evidence", "alarm.diverged", "alarm.contradicting_proofs", "alarm.forked")


def _judge(world: World) -> None:
    """Beyond the model: say whether the honest logs forked, and whether a replica noticed."""
    executed = {
        (sequence, encode_batch(batch))
        for node in world.honest
        for sequence, batch in node.kept.batches().items()
    }
    if len(executed) == len({sequence for sequence, _ in executed}):
        return
    world.count("forked")
    if _is_provable(world):
        world.count("fork_provable")
    halted = any(text.startswith("core_assertion") for text in world.checkers.noticed)
    if halted or any(world.counters[what] for what in NOTICES):
        world.count("fork_noticed_by_replicas")


def _is_provable(world: World) -> bool:
    """Whether what honest replicas hold shows two quorums of one view, or of one checkpoint.

    Those have liars in common that contradict themselves. Quorums of two views need not.
    """
    signed: dict[tuple[int, int, int], set[bytes]] = defaultdict(set)
    for node in world.honest:
        for record in map(decode_record, node.disk.records()):
            if isinstance(record, Decided):
                decided = record.certificate
                signed[decided.epoch, decided.view, decided.sequence].add(decided.digest)
            elif isinstance(record, MadeStable):
                stable = record.certificate
                signed[stable.epoch, -1, stable.sequence].add(stable.root)
    return any(len(digests) > 1 for digests in signed.values())


def play(options: Options, trace: Trace) -> tuple[World, RunResult]:
    """Run one world to its end and return it with how it ended."""
    world = World(options, trace)
    violation = None
    try:
        world.run()
    except ViolationError as error:
        violation = str(error)
        world.say(f"VIOLATION {violation}")
    for node in world.nodes.values():
        world.coverage.collect(node)
    if options.is_beyond_model:
        _judge(world)
    result = RunResult(
        options.seed,
        violation,
        trace.digest,
        dict(sorted(world.counters.items())),
        world.elapsed_ms,
        tuple(world.checkers.noticed),
    )
    return world, result


def run_world(options: Options, trace: Trace) -> RunResult:
    """Run one world and return how it ended."""
    return play(options, trace)[1]
