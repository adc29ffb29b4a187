"""What the catalogue answers."""

from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class FaultBudget:
    """What a cluster of `nodes` nodes survives, in numbers and in words."""

    nodes: int
    f: int
    quorum: int
    crashes: int
    is_byzantine: bool
    sentence: str


@dataclass(frozen=True, slots=True)
class Estimate:
    """The price of a cluster; per hour in full precision, per month of 730 hours rounded."""

    plan: str
    nodes: int
    node_hour: Decimal
    hour: Decimal
    month: Decimal
