"""Where backups are kept: an S3-compatible store, or a directory, through one interface."""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import obstore
from django.conf import settings
from obstore.exceptions import BaseError
from obstore.store import LocalStore, S3Store

from portal.backups.errors import ObjectMissing, StoreUnavailable

if TYPE_CHECKING:
    from obstore.store import S3Config

CHUNK_BYTES = 5 * 1024 * 1024
READ_BYTES = 1024 * 1024
FILE_SCHEME = "file://"
CONNECT_TIMEOUT = "10s"


@lru_cache(maxsize=4)
def _store(url: str, options: tuple[tuple[str, str], ...]) -> LocalStore | S3Store:
    if url.startswith(FILE_SCHEME):
        Path(url.removeprefix(FILE_SCHEME)).mkdir(parents=True, exist_ok=True, mode=0o700)
        return LocalStore.from_url(url)
    given = dict(options)
    config: S3Config = {"virtual_hosted_style_request": False}
    if "endpoint" in given:
        config["endpoint"] = given["endpoint"]
    if "region" in given:
        config["region"] = given["region"]
    if "access_key_id" in given:
        config["access_key_id"] = given["access_key_id"]
    if "secret_access_key" in given:
        config["secret_access_key"] = given["secret_access_key"]
    allow_http = given.get("endpoint", "").startswith("http://")
    return S3Store.from_url(
        url,
        config=config,
        client_options={"allow_http": allow_http, "connect_timeout": CONNECT_TIMEOUT},
    )


def _open() -> LocalStore | S3Store:
    options = tuple(sorted(settings.BACKUP_STORE_OPTIONS.items()))
    return _store(settings.BACKUP_STORE_URL, options)


def object_put(key: str, chunks: Iterable[bytes]) -> int:
    """Keep an object, whole or not at all; return its size.

    Raises:
        StoreUnavailable: it was not kept.
    """
    counted = _Counted(chunks)
    try:
        obstore.put(_open(), key, iter(counted), use_multipart=True, chunk_size=CHUNK_BYTES)
    except (BaseError, OSError) as error:
        raise StoreUnavailable(_words(error)) from error
    return counted.size_bytes


class _Counted:
    """Counts what goes by."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = chunks
        self.size_bytes = 0

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            self.size_bytes += len(chunk)
            yield chunk


def object_read(key: str) -> Iterator[bytes]:
    """Yield an object in pieces.

    Raises:
        ObjectMissing: it is not there.
        StoreUnavailable: it cannot be read to its end.
    """
    try:
        for piece in obstore.get(_open(), key).stream(min_chunk_size=READ_BYTES):
            yield bytes(piece)
    except FileNotFoundError as error:
        raise ObjectMissing(_words(error)) from error
    except (BaseError, OSError) as error:
        raise StoreUnavailable(_words(error)) from error


def object_delete(key: str) -> None:
    """Forget an object; one that is not there is forgotten already.

    Raises:
        StoreUnavailable: it may still be there.
    """
    try:
        obstore.delete(_open(), key)
    except FileNotFoundError:
        return
    except (BaseError, OSError) as error:
        raise StoreUnavailable(_words(error)) from error


def _words(error: Exception) -> str:
    """Return the first line of what the store says: the rest is about its own inside."""
    lines = str(error).strip().splitlines()
    return f"The store of backups: {lines[0][:300] if lines else type(error).__name__}"


class Pieces:
    """Bytes that come in pieces, read as a file is."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._rest = b""

    def read(self, size: int, /) -> bytes:
        """Return at most so many bytes, none at the end."""
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return b""
            self._rest = piece
        part, self._rest = self._rest[:size], self._rest[size:]
        return part
