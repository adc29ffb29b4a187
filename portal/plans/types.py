"""Values of the catalogue."""

from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class FaultBudget:
    """What a cluster of n nodes survives, in figures and in words."""

    nodes: int
    f: int
    quorum: int
    crashes: int
    is_byzantine: bool
    sentence: str


@dataclass(frozen=True, slots=True)
class Offer:
    """A plan as the catalogue shows it."""

    code: str
    name: str
    tagline: str
    monthly_price: Decimal | None
    nodes: int
    node_counts: tuple[int, ...]
    storage_bytes: int | None
    calls_per_month: int | None
    requests_per_s: int | None
    clusters_max: int | None
    support: str
    features: tuple[str, ...]
    backup_gb_price: Decimal | None = None

    @property
    def is_self_service(self) -> bool:
        """Tell whether one can have it without a contract."""
        return self.monthly_price is not None

    @property
    def node_hour_price(self) -> Decimal | None:
        """Return the exact price of one node for one hour."""
        if self.monthly_price is None:
            return None
        return self.monthly_price / (self.nodes * HOURS_PER_MONTH)


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a size of a plan costs; amounts are exact, rounding is for whoever prints."""

    plan: Offer
    nodes: int
    node_hour: Decimal | None
    per_hour: Decimal | None
    per_month: Decimal | None
    budget: FaultBudget


# A month of 365/12 days, as the price list counts.
HOURS_PER_MONTH = 730
