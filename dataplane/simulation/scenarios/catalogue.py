"""All scenarios by name, and what came of one."""

from collections.abc import Callable

from dataplane.simulation.errors import ViolationError
from dataplane.simulation.scenarios.forks import FORK_SCENARIOS
from dataplane.simulation.scenarios.members import MEMBER_SCENARIOS
from dataplane.simulation.scenarios.ordering import ORDERING_SCENARIOS
from dataplane.simulation.scenarios.reads import READ_SCENARIOS
from dataplane.simulation.scenarios.suspicion import SUSPICION_SCENARIOS
from dataplane.simulation.scenarios.transfer import TRANSFER_SCENARIOS
from dataplane.simulation.scenarios.views import VIEW_SCENARIOS

SCENARIOS: dict[str, Callable[[], None]] = {
    scenario.__name__: scenario
    for scenario in (
        *ORDERING_SCENARIOS,
        *SUSPICION_SCENARIOS,
        *VIEW_SCENARIOS,
        *MEMBER_SCENARIOS,
        *FORK_SCENARIOS,
        *READ_SCENARIOS,
        *TRANSFER_SCENARIOS,
    )
}


def broken_promise(name: str) -> str | None:
    """Play a scenario; return the promise that it found broken, None when all hold."""
    try:
        SCENARIOS[name]()
    except ViolationError as violation:
        return str(violation)
    except AssertionError as error:
        return f"core_assertion: {error!r}"
    return None
