"""Filters, sorts and pages over a view of the documents.

A gateway calls `parse_query(collection, body)` with the decoded JSON body (`filter`, `sort`,
`projection`, `limit`, `offset`, `after`, `consistency`, `explain`), which raises `QueryError`, and
then lets `query_steps(state.view, request)` run step by step, or `run_query` all at once.
"""

from dataplane.query.executor import query_steps, run_query
from dataplane.query.parser import parse_query
from dataplane.query.types import Limits, QueryError, QueryPage, QueryRequest, QueryTooCostlyError

__all__ = [
    "Limits",
    "QueryError",
    "QueryPage",
    "QueryRequest",
    "QueryTooCostlyError",
    "parse_query",
    "query_steps",
    "run_query",
]
