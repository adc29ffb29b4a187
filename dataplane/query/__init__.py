"""Filters, sorts and pages over a view of the documents.

A gateway calls `parse_query(collection, body)` with the decoded JSON body (`filter`, `sort`,
`projection`, `limit`, `offset`, `after`, `consistency`, `explain`), which raises `QueryError`, and
then lets `query_steps(state.view, request)` run step by step, or `run_query` all at once.
Aggregations go the same way by `parse_aggregate` and `aggregate_steps`.
"""

from dataplane.query.aggregation import aggregate_steps, run_aggregate
from dataplane.query.executor import query_steps, run_query
from dataplane.query.parser import parse_query
from dataplane.query.requests import AggregateRequest, AggregateResult, parse_aggregate
from dataplane.query.types import Limits, QueryError, QueryPage, QueryRequest, QueryTooCostlyError

__all__ = [
    "AggregateRequest",
    "AggregateResult",
    "Limits",
    "QueryError",
    "QueryPage",
    "QueryRequest",
    "QueryTooCostlyError",
    "aggregate_steps",
    "parse_aggregate",
    "parse_query",
    "query_steps",
    "run_aggregate",
    "run_query",
]
