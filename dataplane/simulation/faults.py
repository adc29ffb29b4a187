"""Makes the planned faults of a run happen."""

from functools import partial
from typing import TYPE_CHECKING, assert_never

from dataplane.simulation.plan import (
    BitFlip,
    Crash,
    Cut,
    Death,
    EndCrash,
    Fault,
    FullDisk,
    LogLoss,
    RowFlip,
)

if TYPE_CHECKING:
    from dataplane.simulation.node import Node
    from dataplane.simulation.world import World


class Faults:
    """Crashes, cuts, full and damaged disks, until the world heals."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._at_ends: list[EndCrash] = []

    def schedule(self) -> None:
        """Plan every fault of the run, and the end of all."""
        world, options = self._world, self._world.options
        for fault in options.faults:
            world.later(fault.at_ms, partial(self._begin, fault))
        world.later(options.faults_until_ms, self._heal)

    def _begin(self, fault: Fault) -> None:
        if self._world.network.healed:
            return
        match fault:
            case Crash():
                self._crash_all(fault.victims)
            case EndCrash():
                self._at_ends.append(fault)
            case Death():
                self._die(self._world.nodes[fault.node])
            case Cut():
                self._cut(fault)
            case FullDisk():
                self._fill(fault)
            case BitFlip():
                self._flip(fault)
            case LogLoss():
                self._lose_log(fault)
            case RowFlip():
                self._flip_row(fault)
            case _:
                assert_never(fault)

    def _cut(self, cut: Cut) -> None:
        world = self._world
        world.network.cut(cut.name, cut.blocked)
        world.count("partition")
        world.count(f"cut.{cut.kind}")
        self._world.say(
            f"{cut.name} {cut.kind}: {' '.join(f'{a}>{b}' for a, b in sorted(cut.blocked))}"
        )
        world.later(cut.until_ms - cut.at_ms, lambda: self._join(cut))

    def _join(self, cut: Cut) -> None:
        if not self._world.network.healed:
            self._world.network.join(cut.name)
            self._world.say(f"{cut.name} ends")

    def _crash_all(self, victims: tuple[tuple[int, int], ...]) -> None:
        if self._world.network.healed:
            return
        for instance, down_ms in victims:
            if instance in self._world.nodes:
                self._crash(self._world.nodes[instance], down_ms)

    def _die(self, node: "Node") -> None:
        self._crash(node, 1)
        node.is_dead = True
        self._world.say(f"node {node.id} never comes back")

    def near_end(self, epoch: int, left: int) -> None:
        """Learn that a node executed all but so many batches of an epoch that ends."""
        due = [fault for fault in self._at_ends if fault.epoch == epoch and left <= fault.before]
        for fault in due:
            self._at_ends.remove(fault)
            self._world.count("crash_at_epoch_end")
            self._world.later(fault.delay_ms, partial(self._crash_all, fault.victims))

    def _crash(self, node: "Node", down_ms: int, *, torn: bool | None = None) -> None:
        if node.replica is None or node.is_liar:
            return
        node.crash(torn=self._world.options.torn if torn is None else torn)
        self._world.count("crash")
        self._world.say(f"crash {node.id} keeps {node.executor.applied}")
        self._world.later(down_ms, lambda: self.restart(node))

    def _fill(self, fault: FullDisk) -> None:
        if fault.node not in self._world.nodes:
            return
        self._world.nodes[fault.node].disk.is_full = True
        self._world.say(f"{fault.name}: the disk of {fault.node} is full")
        self._world.later(fault.until_ms - fault.at_ms, lambda: self._empty(fault.node))

    def _empty(self, instance: int) -> None:
        node = self._world.nodes[instance]
        if node.disk.is_full:
            node.disk.is_full = False
            self._world.say(f"the disk of {node.id} has room")
            self.restart(node)

    def _flip(self, fault: BitFlip) -> None:
        node = self._world.nodes[fault.node]
        if node.replica is not None:
            self._crash(node, 1, torn=False)
        if node.disk.flip(fault.place):
            self._world.say(f"{fault.name}: a bit of the log of {node.id} is flipped")

    def _lose_log(self, fault: LogLoss) -> None:
        node = self._world.nodes[fault.node]
        self._crash(node, fault.down_ms)
        if node.replica is None:
            node.lose_log()
            self._world.count("log_lost")
            self._world.say(f"{fault.name}: the log of {node.id} is lost")

    def _flip_row(self, fault: RowFlip) -> None:
        node = self._world.nodes[fault.node]
        if node.replica is not None and node.kept.flip(node.rng):
            self._world.count("row_flipped")
            self._world.say(f"{fault.name}: a bit of a row of {node.id} is flipped")

    def on_disk_full(self, node: "Node") -> None:
        """Halt a node that could not write a record; it comes back when there is room."""
        node.crash(torn=False)
        self._world.count("disk_full_halt")
        self._world.say(f"halt {node.id}: disk full")

    def on_damaged(self, node: "Node") -> None:
        """Note that a node found its log damaged, and goes on without it and without a vote."""
        self._world.count("damaged_log_set_aside")
        self._world.say(f"the log of {node.id} is damaged and set aside")

    def restart(self, node: "Node") -> None:
        """Start a node that is down."""
        if node.replica is None and not node.is_dead:
            self._world.say(f"restart {node.id}")
            node.start()

    def _heal(self) -> None:
        self._world.say("heal")
        self._world.network.heal()
        for node in self._world.nodes.values():
            node.disk.is_full = False
            self.restart(node)
