"""What the month will cost if things go on: a documented method, simple enough to check by hand.

Three hourly rates are known: the mean of the month so far, the mean of the last 24 hours, and the
rate of what runs at this moment. The likely cost adds the present rate for the remaining hours to
the cost so far; the lowest and the highest of the three rates give the band.
"""

from decimal import ROUND_HALF_UP, Decimal, localcontext

from portal.billing.rating import PRECISION
from portal.billing.types import CENT, Forecast, Money


def forecast(
    *,
    so_far: Decimal,
    hours_elapsed: Decimal,
    hours_remaining: Decimal,
    last_day: Decimal,
    per_hour_now: Decimal,
) -> Forecast:
    """Extend the cost so far to the end of the month.

    Args:
        so_far: Cost of the month until now.
        hours_elapsed: Hours of the month behind us in which something could have run.
        hours_remaining: Hours until the month ends.
        last_day: Cost of the last 24 hours, or of the month so far when it is younger.
        per_hour_now: Cost of one hour of everything that runs now.
    """
    with localcontext() as context:
        context.prec = PRECISION
        elapsed = max(hours_elapsed, Decimal(0))
        mean = so_far / elapsed if elapsed > 0 else per_hour_now
        day = last_day / min(elapsed, Decimal(24)) if elapsed > 0 else per_hour_now
        rates = (mean, day, per_hour_now)
        remaining = max(hours_remaining, Decimal(0))

        def extend(rate: Decimal) -> Money:
            amount = so_far + rate * remaining
            return Money(amount.quantize(CENT, rounding=ROUND_HALF_UP))

        return Forecast(
            low=extend(min(rates)), likely=extend(per_hour_now), high=extend(max(rates))
        )
