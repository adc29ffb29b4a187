"""One test for each bug that others published and each that the simulator found here."""

from tests.dataplane.consensus.lab import LIMITS, Lab


def _without(lab: Lab, who: int) -> None:
    lab.drop = lambda source, target, message: who in (source, target)


def _run_until_view(lab: Lab, view: int, *who: int) -> None:
    for _ in range(100):
        if all(lab.bench[i].replica.view == view and lab.bench[i].replica.active for i in who):
            return
        lab.tick(*who, after_ms=LIMITS.retransmit_ms)
        lab.run()
    raise AssertionError("the view does not move")


def test_a_request_executed_before_its_view_carried_it_may_be_asked_again():
    lab = Lab(4)
    lab.order(1, gateway=2)
    _without(lab, 0)
    _run_until_view(lab, 1, 1, 2, 3)
    executed = len(lab.bench[2].executed)
    lab.ask(2, lab.request(2, 1))
    lab.run()
    assert len(lab.bench[2].executed) == executed + 1
    assert all(lab.bench[i].replica.pending_count == 0 for i in (1, 2, 3))
