"""Refusals of the catalogue."""

from portal.core.errors import Invalid


class UnknownPlan(Invalid):
    """No plan has the code."""

    code = "unknown_plan"


class UnknownRegion(Invalid):
    """No region has the code."""

    code = "unknown_region"


class UnableToSize(Invalid):
    """The plan is not sold with that many nodes."""

    code = "node_count_not_offered"
