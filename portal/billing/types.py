"""Values that rating works on: a metered item, a rated line, a sum of money, a forecast."""

from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import TypedDict

CENT = Decimal("0.01")
CURRENCY = "USD"


class MoneyJson(TypedDict):
    """Money as the API prints it: strings, never floats."""

    amount: str
    currency: str


@dataclass(frozen=True, slots=True)
class Money:
    """An amount of one currency, already rounded to its smallest unit."""

    amount: Decimal
    currency: str = CURRENCY

    def __post_init__(self) -> None:
        if self.amount != self.amount.quantize(CENT, rounding=ROUND_HALF_UP):
            message = f"{self.amount} is finer than a cent: round once, in rating"
            raise ValueError(message)

    def as_json(self) -> MoneyJson:
        """Answer the shape of the API contract."""
        return {"amount": str(self.amount.quantize(CENT)), "currency": self.currency}


@dataclass(frozen=True, slots=True)
class Item:
    """A quantity in full precision with the price of one unit of it."""

    label: str
    quantity: Decimal
    unit: str
    unit_price: Decimal
    # What the plan's price already covers; only the excess is priced.
    included: Decimal = Decimal(0)
    reference: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """An item with its amount, rounded exactly once."""

    label: str
    quantity: Decimal
    unit: str
    unit_price: Decimal
    amount: Money
    reference: str = ""


@dataclass(frozen=True, slots=True)
class Statement:
    """All lines of a period and their sum."""

    lines: tuple[Line, ...]
    total: Money


@dataclass(frozen=True, slots=True)
class Forecast:
    """What the whole month will cost, as a band."""

    low: Money
    likely: Money
    high: Money
