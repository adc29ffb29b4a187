"""The objects of one cluster's archive in an S3-compatible store, or in a directory of a machine.

Names begin with the prefix of the specification and the id of the cluster, so that clusters that
share a bucket share no object. What objects hold is sealed; nothing here can read it.
"""

import asyncio
import contextlib
import os
import re
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import obstore
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import LocalStore, S3Store

from dataplane.client.errors import (
    ArchiveRefusedError,
    ArchiveUnavailableError,
    ObjectMissingError,
)
from dataplane.client.spec import ArchiveSpec

if TYPE_CHECKING:
    from obstore.store import S3Config

FILE_SCHEME: Final = "file://"
TIMEOUT_S: Final = 30.0
"""Of one call, with what is tried again."""
CREDENTIALS_BYTES_MAX: Final = 64 * 1024
LISTED: Final = 1_000
REMOVED: Final = 50
"""Objects that are removed at once."""
_OTHERS_MAY_READ: Final = 0o077
_WORDS_MAX: Final = 300
_ADDRESS: Final = re.compile(r"(https?|file)://\S+")
_ATTEMPTS: Final = re.compile(r" in [0-9.]+\w+, after .*? - ")
_BODY: Final = re.compile(r":?\s*<.*")


class Credentials(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `credentials_file` holds."""

    access_key_id: str
    secret_access_key: str
    session_token: str | None = None


class ArchiveStore:
    """One cluster's objects, by their names below its own prefix."""

    def __init__(self, spec: ArchiveSpec, cluster_id: str) -> None:
        """Nothing is opened before it is needed, and a new file of credentials is noticed."""
        self._spec = spec
        self._prefix = f"{spec.prefix}{cluster_id}/"
        self._store: LocalStore | S3Store | None = None
        self._stamp: tuple[int, int] | None = None

    async def put(self, name: str, data: bytes) -> None:
        """Keep an object, whole or not at all, in the place of one of that name.

        Raises:
            ArchiveUnavailableError: It may not be there.
        """
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await obstore.put_async(self._open(), self._prefix + name, data)
        except (BaseError, OSError, ValueError) as error:
            raise _failure(error) from error

    async def get(self, name: str, size_max: int, *, timeout_s: float = TIMEOUT_S) -> bytes | None:
        """Return an object, None when it is longer than it can be.

        Raises:
            ObjectMissingError: There is none of that name.
            ArchiveUnavailableError: It cannot be read now.
        """
        try:
            async with asyncio.timeout(timeout_s):
                found = await obstore.get_async(self._open(), self._prefix + name)
                if found.meta["size"] > size_max:
                    return None
                return bytes(await found.bytes_async())
        except FileNotFoundError as error:
            raise ObjectMissingError(name) from error
        except (BaseError, OSError, ValueError) as error:
            raise _failure(error) from error

    async def exists(self, name: str) -> bool:
        """Say whether there is an object of a name.

        Raises:
            ArchiveUnavailableError: The store does not say.
        """
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await obstore.head_async(self._open(), self._prefix + name)
        except FileNotFoundError:
            return False
        except (BaseError, OSError, ValueError) as error:
            raise _failure(error) from error
        return True

    async def delete(self, names: Sequence[str]) -> None:
        """Remove objects; those that are not there are gone already.

        Raises:
            ArchiveUnavailableError: Some may still be there.
        """
        for start in range(0, len(names), REMOVED):
            part = [self._prefix + name for name in names[start : start + REMOVED]]
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    await self._remove(part)
            except (BaseError, OSError, ValueError) as error:
                raise _failure(error) from error

    async def _remove(self, paths: list[str]) -> None:
        store = self._open()
        try:
            await obstore.delete_async(store, paths)
        except FileNotFoundError:
            # A directory says so of what is not there, and so do some stores; S3 itself does not.
            for path in paths:
                with contextlib.suppress(FileNotFoundError):
                    await obstore.delete_async(store, path)

    async def names(self) -> AsyncIterator[list[str]]:
        """Yield the names of all objects, in parts.

        Raises:
            ArchiveUnavailableError: The store does not say.
        """
        try:
            stream = obstore.list(self._open(), self._prefix, chunk_size=LISTED)
            while True:
                async with asyncio.timeout(TIMEOUT_S):
                    part = await anext(stream, None)
                if part is None:
                    return
                yield [meta["path"].removeprefix(self._prefix) for meta in part]
        except (BaseError, OSError, ValueError) as error:
            raise _failure(error) from error

    def _open(self) -> LocalStore | S3Store:
        """Return the store, opened anew when the file of credentials is another.

        Raises:
            ArchiveUnavailableError: The credentials cannot be read.
        """
        stamp = self._credentials_stamp()
        if self._store is None or stamp != self._stamp:
            self._store, self._stamp = self._opened(), stamp
        return self._store

    def _opened(self) -> LocalStore | S3Store:
        spec = self._spec
        if spec.url.startswith(FILE_SCHEME):
            path = Path(spec.url.removeprefix(FILE_SCHEME)) / spec.bucket
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            return LocalStore(path)
        config: S3Config = {
            "endpoint": spec.url,
            "region": spec.region,
            "virtual_hosted_style_request": False,
            # Not every store knows the call that removes many at once.
            "disable_bulk_delete": True,
        }
        credentials = self._credentials()
        if credentials is not None:
            config["access_key_id"] = credentials.access_key_id
            config["secret_access_key"] = credentials.secret_access_key
            if credentials.session_token is not None:
                config["session_token"] = credentials.session_token
        return S3Store(
            spec.bucket,
            config=config,
            client_options={
                "allow_http": spec.url.startswith("http://"),
                "connect_timeout": timedelta(seconds=5),
                "timeout": timedelta(seconds=20),
            },
            retry_config={"max_retries": 2, "retry_timeout": timedelta(seconds=10)},
        )

    def _credentials_stamp(self) -> tuple[int, int] | None:
        if self._spec.credentials_file is None:
            return None
        try:
            stat = Path(self._spec.credentials_file).stat()
        except OSError as error:
            raise ArchiveUnavailableError(
                f"cannot read the credentials of the archive: {error.strerror}"
            ) from error
        return stat.st_mtime_ns, stat.st_ino

    def _credentials(self) -> Credentials | None:
        if self._spec.credentials_file is None:
            return None
        path = Path(self._spec.credentials_file)
        try:
            with path.open("rb") as file:
                if os.fstat(file.fileno()).st_mode & _OTHERS_MAY_READ:
                    raise ArchiveUnavailableError(
                        f"{path.name} is readable by others; make it mode 0600"
                    )
                return msgspec.json.decode(file.read(CREDENTIALS_BYTES_MAX), type=Credentials)
        except OSError as error:
            raise ArchiveUnavailableError(
                f"cannot read the credentials of the archive: {error.strerror}"
            ) from error
        except (msgspec.MsgspecError, UnicodeDecodeError):
            # What the file holds is not repeated.
            raise ArchiveUnavailableError(
                f"{path.name} must be JSON with access_key_id and secret_access_key"
            ) from None


def _failure(error: Exception) -> ArchiveUnavailableError:
    is_refusal = isinstance(error, PermissionDeniedError | UnauthenticatedError | PermissionError)
    return (ArchiveRefusedError if is_refusal else ArchiveUnavailableError)(_words(error))


def _words(error: Exception) -> str:
    """Return what the store says, without where it is and how often it was asked.

    It goes into answers to clients, who have no business with that.
    """
    if isinstance(error, TimeoutError):
        return "it does not answer in time"
    lines = str(error).strip().splitlines() or [type(error).__name__]
    text = _ADDRESS.sub("the store", lines[0])
    return _BODY.sub("", _ATTEMPTS.sub(": ", text))[:_WORDS_MAX]
