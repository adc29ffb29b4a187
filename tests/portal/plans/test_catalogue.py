"""The price list and what it promises."""

from decimal import Decimal

import pytest

from portal.plans.selectors import NODE_COUNTS, estimate, fault_budget, node_hour_price, plan_list


@pytest.mark.parametrize("nodes", range(1, 32))
def test_two_quorums_share_an_honest_node_at_every_size(nodes):
    budget = fault_budget(nodes)
    assert 2 * budget.quorum - nodes >= budget.f + 1
    assert budget.quorum <= nodes - budget.f
    assert budget.crashes == nodes - budget.quorum
    assert budget.is_byzantine == (nodes >= 4)


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        (1, "No fault tolerance"),
        (3, "not Byzantine-tolerant"),
        (4, "Survives 1 malicious or crashed node."),
        (6, "Survives 1 malicious node and 1 crashed node at once, or 2 crashed."),
        (7, "Survives 2 malicious or crashed nodes."),
        (10, "Survives 3 malicious or crashed nodes."),
    ],
)
def test_the_budget_is_said_in_words(nodes, words):
    assert words in fault_budget(nodes).sentence


def test_small_sizes_never_claim_byzantine_tolerance():
    for nodes in (1, 2, 3):
        sentence = fault_budget(nodes).sentence
        assert "malicious" not in sentence


def test_the_catalogue_is_the_price_list(db):
    plans = {plan.code: plan for plan in plan_list()}
    assert [plan.code for plan in plan_list()] == ["free", "starter", "professional", "enterprise"]
    assert plans["starter"].monthly_price == Decimal("29.00")
    assert plans["professional"].calls_per_month == 1_000_000
    assert plans["enterprise"].storage_bytes is None
    assert {n for plan in plan_list() for n in plan.node_counts} == set(NODE_COUNTS)


def test_the_listed_size_costs_the_listed_price_in_a_month(db):
    for code in ("free", "starter", "professional"):
        plan = next(plan for plan in plan_list() if plan.code == code)
        price = estimate(code, plan.nodes)
        assert price.per_month.quantize(Decimal("0.01")) == plan.monthly_price
    assert node_hour_price("enterprise") is None
    assert node_hour_price("gone") is None
