"""Every stable code has its class and its advice, in all three clients."""

import traceback
from pathlib import Path

import httpx
import pytest

import dataplane.client
from aerolith_cli.exits import FAILED, explained
from dataplane.client import ApiError, NotFoundError, PreconditionFailedError
from dataplane.client.calls import problem_of
from dataplane.client.refusals import BY_CODE, refusal_of
from dataplane.gateways.errors import RETRY_AFTER_S, TITLES
from tests.clients.test_typescript import PROJECT, ROOT, script

DOCUMENTED = Path(ROOT / "docs" / "errors.md").read_text()


def test_each_code_has_a_class_that_says_what_to_do():
    assert set(BY_CODE) == set(TITLES)
    for code, kind in BY_CODE.items():
        assert issubclass(kind, ApiError)
        assert kind.advice.endswith("."), code
        assert getattr(dataplane.client, kind.__name__) is kind
        assert f"| `{code}` | {TITLES[code][0]} | `{kind.__name__}` | {kind.advice} |" in DOCUMENTED


def test_what_passes_by_itself_is_what_nodes_say_to_wait_for():
    passing = {code for code, kind in BY_CODE.items() if kind.is_passing}
    # A restore takes minutes: that is for the program to wait for, not for one call.
    assert passing == set(RETRY_AFTER_S) - {"restoring"}


def test_a_refusal_is_caught_by_its_class_and_shows_its_advice(client):
    with pytest.raises(NotFoundError):
        client.get("errors", "nothing")
    client.put("errors", "a", {})
    with pytest.raises(PreconditionFailedError) as refused:
        client.put("errors", "a", {}, if_match=7)
    assert refused.value.advice in "".join(traceback.format_exception(refused.value))


def test_how_long_to_wait_is_told():
    body = {"code": "rate_limited", "detail": "slowly"}
    error = problem_of(httpx.Response(429, json=body, headers={"retry-after": "7"}))
    assert error.retry_after_s == 7
    assert problem_of(httpx.Response(502, text="<html>")).retry_after_s is None


def test_the_command_line_says_what_to_do_about_each_code():
    for code, (status, _) in TITLES.items():
        told = explained(refusal_of(status, code, "as the test wants it", {}))
        assert told.hint, code
        assert told.code != FAILED, code
    assert explained(refusal_of(418, "of_a_newer_node", "?", {})).hint == ""


def test_the_typescript_classes_are_made_of_these():
    done = script("refusals")
    assert done.returncode == 0, done.stderr
    committed = (PROJECT / "src" / "refusals.ts").read_text()
    assert committed == done.stdout, "scripts/typescript generate"
