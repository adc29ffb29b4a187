"""Filters, sorts and pages over a view of the documents.

A gateway calls `parse_query(collection, body)` with the decoded JSON body (`filter`, `sort`,
`projection`, `limit`, `offset`, `after`, `consistency`, `explain`), which raises `QueryError`, and
then `run_query(state.view, request)`.
"""

from dataplane.query.executor import run_query
from dataplane.query.parser import parse_query
from dataplane.query.types import QueryError, QueryPage, QueryRequest, QueryTooCostlyError

__all__ = [
    "QueryError",
    "QueryPage",
    "QueryRequest",
    "QueryTooCostlyError",
    "parse_query",
    "run_query",
]
