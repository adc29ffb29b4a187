"""Answers and refusals as HTTP responses."""

import msgspec

from dataplane.gateways.answers import Answer
from dataplane.gateways.errors import Problem
from dataplane.gateways.rest.http import Response

_encoder = msgspec.json.Encoder()


def json_response(
    body: object, status: int = 200, headers: list[tuple[str, str]] | None = None
) -> Response:
    """Return a JSON response."""
    return Response(status, _encoder.encode(body), headers=headers or [])


def answer_response(answer: Answer) -> Response:
    """Return an answer of the service layer as a response."""
    if answer.body is None:
        return Response(answer.status, answer.document or b"", headers=answer.facts)
    return Response(answer.status, _encoder.encode(answer.body), headers=answer.facts)


def problem_response(problem: Problem, instance: str) -> Response:
    """Return a problem+json response."""
    headers = list(problem.headers)
    if problem.retry_after_s is not None:
        headers.append(("Retry-After", str(problem.retry_after_s)))
    return Response(
        problem.status,
        _encoder.encode(problem.body(instance)),
        "application/problem+json",
        headers,
    )
