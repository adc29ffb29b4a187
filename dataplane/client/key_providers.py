"""Who keeps the key-encryption key of a cluster: a file, or the transit engine of OpenBao or Vault.

A provider wraps the cluster key when a cluster is made and unwraps it whenever a node starts. Only
the wrapped key is ever stored beside a node. Destroying the key-encryption key makes everything the
cluster encrypted unreadable.
"""

import base64
import contextlib
import os
import secrets
from pathlib import Path
from typing import Any, Final, Protocol, override

import httpx
import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from dataplane.client.errors import KeyProviderError
from dataplane.client.provisioning import write_private
from dataplane.client.spec import FileKeySpec, TransitKeySpec

KEY_BYTES: Final = 32
TIMEOUT_S: Final = 5.0
_NONCE_BYTES: Final = 12
_FILE_MAGIC: Final = b"AEROKEY1"
_OTHERS_MAY_READ: Final = 0o077
_FILE_BYTES_MAX: Final = 4_096
_NAME_CHARACTERS: Final = frozenset(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."
)


class KeyProvider(Protocol):
    """Wraps and unwraps; `context` is bound to the wrapped key and must be the same."""

    def create(self) -> None:
        """Make the key-encryption key if there is none yet.

        Raises:
            KeyProviderError: It cannot be made.
        """
        ...

    def wrap(self, key: bytes, context: bytes) -> bytes:
        """Return a key wrapped.

        Raises:
            KeyProviderError: The provider cannot be reached or refuses.
        """
        ...

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """Return the key.

        Raises:
            KeyProviderError: The provider cannot be reached or refuses, or this is another's key.
        """
        ...

    def destroy(self) -> None:
        """Destroy the key-encryption key for ever; once it is gone, calling again does nothing.

        Raises:
            KeyProviderError: It may still be there.
        """
        ...

    @property
    def reference(self) -> str:
        """Name the key for people: where it is, never what it is."""
        ...


class FileProvider(KeyProvider):
    """The key-encryption key is 64 hex digits in a file of mode 0600."""

    def __init__(self, spec: FileKeySpec) -> None:
        self._path = Path(spec.path)

    @property
    @override
    def reference(self) -> str:
        return f"file {self._path.name}"

    @override
    def create(self) -> None:
        if not self._path.exists():
            write_private(self._path, secrets.token_hex(KEY_BYTES).encode())

    @override
    def wrap(self, key: bytes, context: bytes) -> bytes:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return _FILE_MAGIC + nonce + AESGCM(self._key()).encrypt(nonce, key, context)

    @override
    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        body = wrapped.removeprefix(_FILE_MAGIC)
        if body == wrapped:
            raise KeyProviderError("the wrapped cluster key was not made by a key file")
        try:
            return AESGCM(self._key()).decrypt(body[:_NONCE_BYTES], body[_NONCE_BYTES:], context)
        except (InvalidTag, ValueError) as error:
            raise KeyProviderError(
                f"{self._path.name} is not the key that wrapped this cluster's key: "
                "put the right file in its place"
            ) from error

    @override
    def destroy(self) -> None:
        try:
            with self._path.open("r+b") as file:
                # For disks that write in place; nothing is promised of others.
                file.write(bytes(self._path.stat().st_size))
                file.flush()
                os.fsync(file.fileno())
            self._path.unlink()
        except FileNotFoundError:
            return
        except OSError as error:
            raise KeyProviderError(f"cannot destroy {self._path.name}: {error.strerror}") from error

    def _key(self) -> bytes:
        name = self._path.name
        try:
            if self._path.stat().st_mode & _OTHERS_MAY_READ:
                raise KeyProviderError(f"{name} is readable by others; make it mode 0600")
            key = bytes.fromhex(self._path.read_text().strip())
        except OSError as error:
            raise KeyProviderError(
                f"cannot read the key file {name} ({error.strerror}): put it back; "
                "without it nothing of this node can be read"
            ) from error
        except ValueError as error:
            raise KeyProviderError(f"{name} must hold 64 hex digits") from error
        if len(key) != KEY_BYTES:
            raise KeyProviderError(f"{name} must hold 64 hex digits")
        return key


class TransitProvider(KeyProvider):
    """The key-encryption key never leaves the server; a token for this one key is enough."""

    def __init__(self, spec: TransitKeySpec) -> None:
        if not spec.key or not _NAME_CHARACTERS.issuperset(spec.key + spec.mount):
            raise KeyProviderError(
                "the names of a transit key and its mount are letters and digits"
            )
        self._spec = spec

    @property
    @override
    def reference(self) -> str:
        return f"transit key {self._spec.mount}/{self._spec.key} at {self._spec.url}"

    @override
    def create(self) -> None:
        self._call("POST", f"keys/{self._spec.key}", {"type": "aes256-gcm96"})

    @override
    def wrap(self, key: bytes, context: bytes) -> bytes:
        body = {"plaintext": _base64(key), "associated_data": _base64(context)}
        return str(self._call("POST", f"encrypt/{self._spec.key}", body)["ciphertext"]).encode()

    @override
    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        body = {
            "ciphertext": wrapped.decode(errors="replace").strip(),
            "associated_data": _base64(context),
        }
        return base64.b64decode(self._call("POST", f"decrypt/{self._spec.key}", body)["plaintext"])

    @override
    def destroy(self) -> None:
        with contextlib.suppress(KeyGoneError):
            self._call("POST", f"keys/{self._spec.key}/config", {"deletion_allowed": True})
            self._call("DELETE", f"keys/{self._spec.key}", None)

    def _call(self, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        spec = self._spec
        try:
            token = Path(spec.token_file).read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            name = Path(spec.token_file).name
            raise KeyProviderError(f"cannot read the token of the key server, {name}") from error
        try:
            with httpx.Client(verify=spec.ca_file or True, timeout=TIMEOUT_S) as client:
                answer = client.request(
                    method,
                    f"{spec.url.rstrip('/')}/v1/{spec.mount}/{path}",
                    json=body,
                    headers={"X-Vault-Token": token},
                )
        except (httpx.HTTPError, OSError) as error:
            raise KeyProviderError(
                f"the key server at {spec.url} does not answer ({type(error).__name__}): "
                "start it or unseal it, then start the node again"
            ) from error
        return self._body(answer)

    def _body(self, answer: httpx.Response) -> dict[str, Any]:
        """Return the data of an answer; what a refusal says is repeated, what was sent is not."""
        if answer.is_success:
            data = msgspec.json.decode(answer.content)["data"] if answer.content else {}
            return data if isinstance(data, dict) else {}
        said = answer.text[:300]
        detail = f"{self.reference} refused with {answer.status_code}: {said}"
        if answer.status_code == httpx.codes.FORBIDDEN:
            raise KeyProviderError(f"{detail}; renew the token or its policy")
        if "not found" in said or "no existing key" in said:
            raise KeyGoneError(f"{detail}; without this key nothing of the node can be read")
        raise KeyProviderError(detail)


class KeyGoneError(KeyProviderError):
    """The key server knows no such key (any more)."""


def provider_of(spec: FileKeySpec | TransitKeySpec) -> KeyProvider:
    """Return the provider that a specification names."""
    return FileProvider(spec) if isinstance(spec, FileKeySpec) else TransitProvider(spec)


def cluster_key_context(cluster_id: str) -> bytes:
    """Return what binds a wrapped cluster key to its cluster."""
    return b"aerolith-cluster-key|" + cluster_id.encode()


def cluster_key_make(spec: FileKeySpec | TransitKeySpec, cluster_id: str) -> bytes:
    """Make a cluster key and return it wrapped; nobody keeps it in the clear.

    Raises:
        KeyProviderError: The provider cannot be reached or refuses.
    """
    provider = provider_of(spec)
    provider.create()
    return provider.wrap(secrets.token_bytes(KEY_BYTES), cluster_key_context(cluster_id))


def cluster_key_read(path: Path, spec: FileKeySpec | TransitKeySpec, cluster_id: str) -> bytes:
    """Return the cluster key whose wrapped form is in a file.

    Raises:
        KeyProviderError: Says what is wrong and what to do.
    """
    try:
        with path.open("rb") as file:
            wrapped = file.read(_FILE_BYTES_MAX)
    except OSError as error:
        raise KeyProviderError(
            f"cannot read the wrapped cluster key {path.name} ({error.strerror}): "
            "copy it from another node of the cluster"
        ) from error
    key = provider_of(spec).unwrap(wrapped, cluster_key_context(cluster_id))
    if len(key) != KEY_BYTES:
        raise KeyProviderError(f"what {path.name} holds is not a cluster key")
    return key


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
