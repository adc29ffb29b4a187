"""Stories of when a primary is suspected, and of how patience grows and ends."""

from collections.abc import Callable

from dataplane.consensus.messages import Forward, Heartbeat, NewView, Suspect
from dataplane.simulation.scenarios.crafting import (
    STEP_MS,
    cut_off,
    join,
    leave,
    lose,
    pass_time,
    timeout,
    views,
)
from dataplane.simulation.scenarios.lab import LIMITS, Lab, expect

SLEEP_MS = 30 * 60_000
VIEWS_IN_VAIN = 40


def started(n: int) -> Lab:
    """Return a cluster whose replicas know each other."""
    lab = Lab(n)
    lab.tick()
    lab.run()
    return lab


def selfish_primary_is_replaced() -> None:
    """A primary that orders requests of its own only is replaced."""
    lab = started(4)
    lab.ask(3, lab.request(3, 1))
    lab.wire.clear()
    lose(lab, Forward, to=0)
    cseq = 0
    while views(lab)[3][0] == 0:
        cseq += 1
        expect(cseq < 2 * LIMITS.timeout_max_ms // STEP_MS, "own progress does not excuse for ever")
        lab.order(cseq, gateway=0)
        pass_time(lab, STEP_MS)
    join(lab)
    pass_time(lab, 3_000)
    asked = lab.request(3, 1).key
    ordered = {r.key for batch in lab.bench[1].executed for r in batch.requests}
    expect(asked in ordered, "the request that was passed over is ordered")


def back_off_ends_with_execution() -> None:
    """Patience doubles with every view in vain; only an executed batch ends that (FISCO#704)."""
    lab = started(4)
    lab.order(1)
    suspicion = lab.suspicion(3)
    patience = [suspicion.request_timeout_ms]
    lose(lab, NewView)
    for view in range(3):
        for i in range(4):
            lab.give(i, timeout(view, range(2)), sender=i)
        patience.append(suspicion.request_timeout_ms)
    doubled = [patience[0] << doublings for doublings in range(4)]
    expect(patience == doubled, "patience doubles with every view in vain")
    lab.wire.clear()
    join(lab)
    leave(lab, 3)
    expect(views(lab) == [(4, True)] * 4, "a view begins")
    expect(suspicion.request_timeout_ms == patience[0] << 4, "to enter a view is no success")
    lab.order(2)
    expect(suspicion.request_timeout_ms == patience[0], "to execute in it is")


def patience_has_a_limit() -> None:
    """No timeout grows beyond its limit, however many views were in vain (quorum#1681)."""
    lab = started(4)
    suspicion = lab.suspicion(1)
    for view in range(VIEWS_IN_VAIN):
        lab.give(1, timeout(view, range(2)), sender=0)
    most = LIMITS.timeout_max_ms
    expect(suspicion.request_timeout_ms == most, "requests wait no longer than the limit")
    expect(suspicion.view_timeout_ms == most, "a view is waited for no longer than the limit")


def own_sleep_excuses_nobody() -> None:
    """What happened after a sleep is not forgiven together with it."""
    lab = started(4)
    lab.now_ms += SLEEP_MS
    lab.give(3, Heartbeat(0, 0, 0))  # The first thing it sees, before it notices how late it is.
    lab.tick(3)
    cut_off(lab, 3)
    pass_time(lab, 1_500, 0, 1, 2)
    expect(bool(lab.bench[3].votes(Suspect)), "a primary that falls silent is suspected")


SUSPICION_SCENARIOS: tuple[Callable[[], None], ...] = (
    selfish_primary_is_replaced,
    back_off_ends_with_execution,
    patience_has_a_limit,
    own_sleep_excuses_nobody,
)
