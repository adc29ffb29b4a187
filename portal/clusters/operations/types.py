"""What a step is to the engine."""

from collections.abc import Callable
from dataclasses import dataclass

from portal.clusters.models import Cluster, Operation
from portal.clusters.ports import Driver


@dataclass(frozen=True, slots=True)
class Context:
    """What a step works on; rows are fresh each time it is called."""

    operation: Operation
    cluster: Cluster
    driver: Driver
    # Says how far one long call is, while it is at work.
    tell: Callable[[str], None] = lambda _words: None


@dataclass(frozen=True, slots=True)
class Waiting:
    """The step's goal is not observed yet; says for what it waits."""

    reason: str
    leaves: bool = False
    """It may take long: the worker's thread is given to others meanwhile."""


# None: what the step is for has been observed.
type Outcome = Waiting | None


@dataclass(frozen=True, slots=True)
class Step:
    """One idempotent step: called again and again until it observes that its goal is reached."""

    name: str
    title: str
    seconds: int
    run: Callable[[Context], Outcome]
    next_action: str = "Retry; if it stops here again, read the nodes' logs."
