"""The supervisor's control port: one JSON line in, one JSON line out, on loopback, by token."""

import asyncio
import hmac
import json
import os
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from portal.commands.state import write_secret
from portal.commands.units import EndingError, UnitRefusedError
from portal.core.supervision import Json

REQUEST_SIZE_MAX = 1024 * 1024
READ_TIMEOUT_S = 5.0
CONNECTIONS_COUNT_MAX = 64

type Command = Callable[[dict[str, Json]], Awaitable[Json]]


class ControlServer:
    """Answers those who can read the endpoint file."""

    def __init__(self, endpoint: Path, commands: dict[str, Command]) -> None:
        self._endpoint = endpoint
        self._commands = commands
        self._token = secrets.token_urlsafe(32)
        self._server: asyncio.Server | None = None
        self._slots = asyncio.Semaphore(CONNECTIONS_COUNT_MAX)

    async def start(self, port: int) -> None:
        """Listen and write the endpoint file."""
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", port, limit=REQUEST_SIZE_MAX
        )
        content = {"port": port, "token": self._token, "pid": os.getpid()}
        write_secret(self._endpoint, json.dumps(content))

    def stop(self) -> None:
        """Stop listening and remove the endpoint file."""
        if self._server is not None:
            self._server.close()
        self._endpoint.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with self._slots:
            try:
                async with asyncio.timeout(READ_TIMEOUT_S):
                    line = await reader.readline()
                writer.write(json.dumps(await self._answer(line)).encode() + b"\n")
                await writer.drain()
            except (OSError, TimeoutError, ValueError):
                pass
            finally:
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()

    async def _answer(self, line: bytes) -> dict[str, Json]:
        request: Json = json.loads(line)
        if not isinstance(request, dict):
            return {"error": "malformed", "detail": "a request is an object"}
        token, arguments = request.get("token"), request.get("arguments")
        if not isinstance(token, str) or not hmac.compare_digest(token, self._token):
            return {"error": "unauthenticated", "detail": "wrong token"}
        command = self._commands.get(str(request.get("command")))
        if command is None or not isinstance(arguments, dict):
            return {"error": "malformed", "detail": "unknown command or no arguments"}
        return await _outcome(command, arguments)


async def _outcome(command: Command, arguments: dict[str, Json]) -> dict[str, Json]:
    try:
        return {"result": await command(arguments)}
    except UnitRefusedError as error:
        return {"error": "invalid", "detail": str(error)}
    except EndingError as error:
        return {"error": "ending", "detail": str(error)}
    except LookupError as error:
        return {"error": "not_found", "detail": f"no unit {error}"}
    except OSError as error:
        return {"error": "failed", "detail": str(error)}
