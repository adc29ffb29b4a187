"""Bugs planted into reads that are not ordered: the index, the promise, the comparison."""

from collections.abc import Callable

from dataplane.consensus.records import Recovered
from dataplane.consensus.replica import Replica
from dataplane.consensus.state import ReplicaState
from dataplane.replication import strong_reads
from dataplane.replication.strong_reads import Round, StrongReads
from dataplane.simulation.planting import Patch


def read_own_state() -> list[Patch]:
    """A read answers from the own state, however far that is."""

    def settle(self: StrongReads, round_: Round) -> None:
        round_.promised = dict.fromkeys(round_.promised, 0)
        real(self, round_)

    real = vars(StrongReads)["_settle"]
    return [(StrongReads, "_settle", settle)]


def lowest_promise() -> list[Patch]:
    """One low promise is enough of an index."""

    def settle(self: StrongReads, round_: Round) -> None:
        quorum = len(round_.promised) >= self._quorum
        lowest = min(round_.promised.values())
        before = round_.promised
        round_.promised = dict.fromkeys(before, lowest)
        real(self, round_)
        if not quorum:
            round_.promised = before

    real = vars(StrongReads)["_settle"]
    return [(StrongReads, "_settle", settle)]


def promise_what_is_executed() -> list[Patch]:
    """A replica promises what it executed, and forgets what it voted for."""
    return [(ReplicaState, "promised", property(lambda self: max(self.executed, self.stable)))]


def restart_forgets_promises() -> list[Patch]:
    """A restarted replica knows nothing of the Commits it gave."""
    real = Replica.__init__

    def init(self: Replica, config: object, signer: object, recovered: Recovered) -> None:
        real(self, config, signer, recovered)  # type: ignore[arg-type]
        self._state.prepared = 0

    return [(Replica, "__init__", init)]


def rows_not_compared() -> list[Patch]:
    """The own row is taken for the agreed one."""
    return [(strong_reads, "reply_quorum", lambda _n: 1)]


def read_across_epochs() -> list[Patch]:
    """A node that executed the end of its epoch still reads among the members who left."""
    return [(StrongReads, "_is_over", property(lambda _self: False))]


READ_PLANTS: dict[str, Callable[[], list[Patch]]] = {
    plant.__name__: plant
    for plant in (
        read_own_state,
        lowest_promise,
        promise_what_is_executed,
        restart_forgets_promises,
        rows_not_compared,
        read_across_epochs,
    )
}
