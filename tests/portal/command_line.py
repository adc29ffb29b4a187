"""The command line, whose portal is the real one in this process."""

from collections.abc import Callable

import httpx
from django.test import Client

from aerolith_cli import profiles
from aerolith_cli.portal import Portal
from aerolith_cli.profiles import Profile
from aerolith_cli.session import Session
from portal.accounts.services import token_create
from tests.portal.clusters.test_auditing import downloaded

URL = "http://testserver"
_DROPPED = {"host", "content-length", "accept-encoding", "connection"}


class Door(httpx.BaseTransport):
    """Passes requests to Django; `between` is what a worker does meanwhile."""

    def __init__(self, between: Callable[[], None] = lambda: None) -> None:
        self._django = Client(enforce_csrf_checks=True)
        self._between = between

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        headers = {name: value for name, value in request.headers.items() if name not in _DROPPED}
        answer = self._django.generic(
            request.method,
            request.url.raw_path.decode(),
            request.read(),
            content_type=headers.pop("content-type", "application/json"),
            headers=headers,
        )
        self._between()
        content = downloaded(answer) if answer.streaming else answer.content
        return httpx.Response(answer.status_code, headers=dict(answer.items()), content=content)


def sign_in(monkeypatch, user, *, between: Callable[[], None] = lambda: None) -> None:
    """Log the command line in, and lead it to this process."""
    _, secret = token_create(user=user, name="command line")
    with profiles.changing() as held:
        profile = Profile(portal=URL, token=secret, organization="acme")
        held[0] = profiles.with_profile(held[0], "default", profile)
    monkeypatch.setattr(
        Session, "portal", lambda self: Portal(URL, self.profile().token, transport=Door(between))
    )
