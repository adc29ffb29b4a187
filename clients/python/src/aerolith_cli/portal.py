"""The portal's API: one request at a time, repeated where that is safe."""

import contextlib
import re
import secrets
import time
from collections.abc import Iterator
from typing import Any, Final, Self
from urllib.parse import urlsplit

import httpx
import msgspec

from aerolith_cli.exits import UNAVAILABLE, USAGE, CommandError, PortalRefusedError

TIMEOUT_S: Final = 30.0
ATTEMPTS: Final = 3
PAUSE_S: Final = 0.5
PAUSE_S_MAX: Final = 5.0
ANSWER_BYTES_MAX: Final = 16 * 1024 * 1024
PAGES_MAX: Final = 500
_LOOPBACK: Final = {"localhost", "127.0.0.1", "::1"}
_REPEATABLE: Final = {429, 502, 503, 504}
_is_name: Final = re.compile(r"[A-Za-z0-9_.-]+").fullmatch


def portal_url(text: str, *, insecure: bool = False) -> str:
    """Return the address of a portal as it is stored.

    Raises:
        CommandError: It is none, or the token would go over the network in the clear.
    """
    parts = urlsplit(text.rstrip("/"))
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query:
        raise CommandError(f"{text!r} is no address like https://portal.example.com", code=USAGE)
    if parts.username is not None:
        raise CommandError("leave name and password out of the address", code=USAGE)
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK and not insecure:
        hint = "Use https, or --insecure if the network in between is yours."
        raise CommandError("a token would go over plain HTTP", code=USAGE, hint=hint)
    return f"{parts.scheme}://{parts.netloc}{parts.path}"


class Portal:
    """Calls below `/api/v1` with a personal token; use it as a context manager."""

    def __init__(
        self, url: str, token: str, *, transport: httpx.BaseTransport | None = None
    ) -> None:
        self.url = url
        self._http = httpx.Client(
            base_url=f"{url}/api/v1/",
            headers={"Authorization": f"Bearer {token}", "Accept": "application/json"},
            timeout=TIMEOUT_S,
            trust_env=url.startswith("https://"),
            transport=transport,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, path: str, params: dict[str, str] | None = None) -> Any:
        """Read something.

        Raises:
            CommandError: The portal refuses or does not answer.
        """
        return self._call("GET", path, params=params)

    def write(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Change something, once, however often it takes to be answered.

        Raises:
            CommandError: The portal refuses or does not answer.
        """
        return self._call(method, path, body=body, key=secrets.token_urlsafe(18))

    def pages(
        self, path: str, *, limit: int, params: dict[str, str] | None = None
    ) -> Iterator[dict[str, Any]]:
        """Yield the rows of a list, newest first, at most `limit`."""
        wanted = {**(params or {}), "limit": str(min(limit, 200))}
        for _ in range(PAGES_MAX):
            page = self.get(path, wanted)
            for row in page["results"]:
                if limit <= 0:
                    return
                limit -= 1
                yield row
            following = page["next"]
            if following is None or limit <= 0:
                return
            # Whatever host the portal calls itself: the token stays with the one that was chosen.
            wanted = dict(httpx.QueryParams(urlsplit(following).query))

    @contextlib.contextmanager
    def lines(self, path: str) -> Iterator[Iterator[bytes]]:
        """Give a file of any length, line by line.

        Raises:
            CommandError: The portal refuses or does not answer.
        """
        try:
            with self._http.stream("GET", _checked(path)) as response:
                if not response.is_success:
                    response.read()
                    self._body(response)
                yield _lines(response)
        except httpx.TransportError as error:
            hint = "What came is cut off: run it again."
            words = f"{self.url} does not answer: {error}"
            raise CommandError(words, code=UNAVAILABLE, hint=hint) from error

    def _call(
        self,
        method: str,
        path: str,
        *,
        params: dict[str, str] | None = None,
        body: dict[str, Any] | None = None,
        key: str | None = None,
    ) -> Any:
        headers = {} if key is None else {"Idempotency-Key": key}
        content = None if body is None else msgspec.json.encode(body)
        if content is not None:
            headers["Content-Type"] = "application/json"
        for attempt in range(ATTEMPTS):
            is_last = attempt == ATTEMPTS - 1
            try:
                response = self._http.request(
                    method, _checked(path), params=params, content=content, headers=headers
                )
            except httpx.TransportError as error:
                if is_last:
                    hint = "Check the address with `aerolith profiles list`, and whether it runs."
                    raise CommandError(
                        f"{self.url} does not answer: {error}", code=UNAVAILABLE, hint=hint
                    ) from error
                time.sleep(PAUSE_S)
                continue
            if is_last or response.status_code not in _REPEATABLE:
                return self._body(response)
            time.sleep(_pause_s(response))
        raise AssertionError("the last attempt returns or raises")

    def _body(self, response: httpx.Response) -> Any:
        if len(response.content) > ANSWER_BYTES_MAX:
            raise CommandError(f"{self.url} answers more than {ANSWER_BYTES_MAX} bytes")
        try:
            body = msgspec.json.decode(response.content) if response.content else None
        except (msgspec.DecodeError, UnicodeDecodeError):
            hint = "Is that the address of an AerolithDB portal?"
            code = UNAVAILABLE if response.is_server_error else USAGE
            raise CommandError(f"{self.url} answers no JSON", code=code, hint=hint) from None
        if response.is_success:
            return body
        raise PortalRefusedError(response.status_code, body if isinstance(body, dict) else {})


def _checked(path: str) -> str:
    """Return a path whose parts are names and ids: with `..` as an id it would be of another thing.

    Raises:
        CommandError: A part is neither.
    """
    for part in path.split("/"):
        if part in {".", ".."} or not _is_name(part):
            raise CommandError(f"{part!r} is no name and no id", code=USAGE)
    return path


def _pause_s(response: httpx.Response) -> float:
    wait = response.headers.get("retry-after", "")
    is_number = wait.isascii() and wait.isdigit()
    return min(float(wait), PAUSE_S_MAX) if is_number else PAUSE_S


def _lines(response: httpx.Response) -> Iterator[bytes]:
    held = b""
    for chunk in response.iter_bytes():
        *whole, held = (held + chunk).split(b"\n")
        if len(held) > ANSWER_BYTES_MAX:
            raise CommandError(f"a line has more than {ANSWER_BYTES_MAX} bytes")
        yield from whole
    if held:
        yield held
