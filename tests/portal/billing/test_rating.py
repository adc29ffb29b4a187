"""Rating: exact until the one rounding of each line."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.billing.forecast import forecast
from portal.billing.rating import rate
from portal.billing.types import Item, Money

quantities = st.decimals(min_value=0, max_value=10**12, places=6)
prices = st.decimals(min_value=0, max_value=10**4, places=12)


def item(quantity, price, included=0):
    return Item("x", Decimal(quantity), "hour", Decimal(price), Decimal(included))


@pytest.mark.parametrize(
    ("quantity", "price", "amount"),
    [
        ("1", "0.005", "0.01"),
        ("1", "0.0049999999999999999999", "0.00"),
        ("3", "0.335", "1.01"),
        ("0", "5", "0.00"),
        ("1", "0.015", "0.02"),
        ("1", "0.025", "0.03"),
        ("123456789.123456", "0.013242009132420091324200913242", "1634815.93"),
    ],
)
def test_a_line_is_rounded_half_up(quantity, price, amount):
    assert rate([item(quantity, price)]).total == Money(Decimal(amount))


def test_a_whole_month_of_three_nodes_costs_the_price_of_the_plan():
    price = Decimal(29) / (3 * 730)
    assert rate([item(3 * 730, price)]).total.amount == Decimal("29.00")


def test_what_is_included_costs_nothing():
    assert rate([item(90, 1, included=100)]).total.amount == 0
    assert rate([item(110, 1, included=100)]).total.amount == 10


@pytest.mark.parametrize("bad", ["-1", "NaN", "Infinity"])
def test_nonsense_is_refused(bad):
    with pytest.raises(ValueError, match="cannot be rated"):
        rate([item(bad, 1)])
    with pytest.raises(ValueError, match="cannot be rated"):
        rate([item(1, bad)])


def test_money_finer_than_a_cent_is_refused():
    with pytest.raises(ValueError, match="finer than a cent"):
        Money(Decimal("0.001"))


@given(st.lists(st.tuples(quantities, prices), max_size=8))
def test_the_total_is_the_sum_of_the_lines_one_reads(pairs):
    statement = rate([item(quantity, price) for quantity, price in pairs])
    assert statement.total.amount == sum((x.amount.amount for x in statement.lines), Decimal(0))
    for line, (quantity, price) in zip(statement.lines, pairs, strict=True):
        exact = Fraction(quantity) * Fraction(price)
        assert abs(Fraction(line.amount.amount) - exact) <= Fraction(1, 200)


@given(quantities, quantities, prices)
def test_more_never_costs_less(first, second, price):
    low, high = sorted([first, second])
    assert rate([item(low, price)]).total.amount <= rate([item(high, price)]).total.amount


@given(st.lists(st.tuples(quantities, prices), max_size=8), st.randoms())
def test_the_order_of_items_does_not_matter(pairs, random):
    shuffled = list(pairs)
    random.shuffle(shuffled)
    assert rate([item(*p) for p in pairs]).total == rate([item(*p) for p in shuffled]).total


money = st.decimals(min_value=0, max_value=10**6, places=2)
hours = st.decimals(min_value=0, max_value=744, places=3)


@given(st.tuples(money, hours, hours, money, money))
def test_a_forecast_is_an_ordered_band_that_never_undoes_what_was_used(figures):
    so_far, elapsed, remaining, last_day, now = figures
    band = forecast(
        so_far=so_far,
        hours_elapsed=elapsed,
        hours_remaining=remaining,
        last_day=min(last_day, so_far),
        per_hour_now=now,
    )
    assert so_far <= band.low.amount <= band.likely.amount <= band.high.amount


def test_the_forecast_of_an_ended_month_is_what_was_used():
    band = forecast(
        so_far=Decimal("12.34"),
        hours_elapsed=Decimal(720),
        hours_remaining=Decimal(0),
        last_day=Decimal(1),
        per_hour_now=Decimal(5),
    )
    assert band.low == band.likely == band.high == Money(Decimal("12.34"))


def test_the_likely_cost_is_what_runs_now_until_the_end():
    band = forecast(
        so_far=Decimal(10),
        hours_elapsed=Decimal(100),
        hours_remaining=Decimal(100),
        last_day=Decimal("4.80"),
        per_hour_now=Decimal("0.5"),
    )
    assert band.low.amount == Decimal("20.00")
    assert band.likely.amount == Decimal("60.00")
    assert band.high.amount == Decimal("60.00")
