"""What a command works with: the profile that was chosen, its portal, its cluster and a key."""

import contextlib
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import msgspec
import typer

from aerolith_cli import output, profiles
from aerolith_cli.exits import (
    NOT_ALLOWED,
    NOT_FOUND,
    UNAVAILABLE,
    USAGE,
    CommandError,
    PortalRefusedError,
)
from aerolith_cli.options import days_from_now
from aerolith_cli.portal import Portal
from aerolith_cli.profiles import Profile, StoredKey
from dataplane.client.anchors import TrustAnchor
from dataplane.client.client import Client
from dataplane.client.errors import ApiError

TOKEN_VARIABLE: Final = "AEROLITH_PORTAL_TOKEN"  # noqa: S105 - the name of a variable
KEY_VARIABLE: Final = "AEROLITH_TOKEN"
KEY_DAYS: Final = 90
KEY_BYTES_MAX: Final = 4096
LISTED_MAX: Final = 1_000


@dataclass(frozen=True, slots=True)
class Target:
    """A cluster of the portal, and a key for its documents."""

    urls: tuple[str, ...]
    key: StoredKey
    cluster: str


@dataclass(frozen=True, slots=True)
class Session:
    """The choices in front of a command."""

    profile_name: str | None = None
    organization: str | None = None
    cluster: str | None = None
    urls: tuple[str, ...] = ()
    key_file: Path | None = None

    @property
    def name(self) -> str:
        """The profile in use."""
        return self.profile_name or profiles.load().current

    def profile(self) -> Profile:
        """Return the profile in use.

        Raises:
            CommandError: Nobody has logged in.
        """
        found = profiles.load().profiles.get(self.name)
        if found is None:
            hint = (
                f"Log in to a portal: aerolith login. Or: --url NODE, with a key in {KEY_VARIABLE}"
            )
            raise CommandError(f"there is no profile {self.name!r}", code=USAGE, hint=hint)
        return found

    def portal(self) -> Portal:
        """Return the portal; use it as a context manager."""
        profile = self.profile()
        return Portal(profile.portal, os.environ.get(TOKEN_VARIABLE) or profile.token)

    def org(self, portal: Portal) -> str:
        """Return the path of the organization in use.

        Raises:
            CommandError: There are several, and none was chosen.
        """
        slug = self.organization or self.profile().organization
        if slug is None:
            known = [row["slug"] for row in portal.get("orgs")["results"]]
            if len(known) != 1:
                hint = f"Choose by --org or `aerolith orgs use`: {', '.join(known) or 'none'}"
                raise CommandError("which organization?", code=USAGE, hint=hint)
            slug = known[0]
        return f"orgs/{slug}"

    # --- Clusters -------------------------------------------------------------------------------

    def find_cluster(self, portal: Portal, named: str | None = None) -> dict[str, Any]:
        """Return the cluster of a name or an id, or the one in use, or the only one.

        Raises:
            CommandError: There is none, or it is not clear which.
        """
        wanted = named or self.cluster or self.profile().cluster
        org = self.org(portal)
        if wanted is not None and _is_uuid(wanted):
            found: dict[str, Any] = portal.get(f"{org}/clusters/{wanted}")
            return found
        rows = list(portal.pages(f"{org}/clusters", limit=LISTED_MAX))
        fitting = [row for row in rows if wanted is None or row["name"] == wanted]
        if len(fitting) == 1:
            return fitting[0]
        names = ", ".join(sorted(row["name"] for row in rows)) or "none"
        if wanted is not None and not fitting:
            raise CommandError(
                f"there is no cluster {wanted!r}", code=NOT_FOUND, hint=f"There are: {names}"
            )
        hint = f"Choose by --cluster or `aerolith clusters use`: {names}"
        raise CommandError("which cluster?", code=USAGE, hint=hint)

    def place(self, portal: Portal, cluster: dict[str, Any] | None = None) -> str:
        """Return the path of a cluster, or of the one in use.

        Raises:
            CommandError: There is none, or it is not clear which.
        """
        found = self.find_cluster(portal) if cluster is None else cluster
        return f"{self.org(portal)}/clusters/{found['id']}"

    # --- Documents ------------------------------------------------------------------------------

    @contextlib.contextmanager
    def documents(self) -> Iterator[Client]:
        """Give a client of the cluster; its key comes from the caller, the profile or the portal.

        Raises:
            CommandError: There is no way to one.
        """
        with self.documents_of() as (client, _):
            yield client

    @contextlib.contextmanager
    def documents_of(self) -> Iterator[tuple[Client, str]]:
        """Give a client as `documents` does, and what names its cluster from now on."""
        if self.urls:
            with Client(self.urls, self._given_key()) as client:
                yield client, " ".join(sorted(self.urls))
            return
        target = self.target()
        anchor = target.key.anchor
        try:
            with Client(target.urls, target.key.token, anchor=anchor) as client:
                yield client, target.cluster
        except ApiError as error:
            if error.code != "unauthenticated" or self._has_given_key:
                raise
            with profiles.changing() as held:
                held[0] = profiles.with_key(held[0], self.name, target.cluster, None)
            hint = (
                "It was revoked or has expired, and is forgotten: the next command makes another."
            )
            raise CommandError(
                "the stored key does not work", code=NOT_ALLOWED, hint=hint
            ) from error

    def nodes_and_key(self) -> tuple[tuple[str, ...], str]:
        """Return the addresses and the key, for work that needs more than documents."""
        if self.urls:
            return self.urls, self._given_key()
        target = self.target()
        return target.urls, target.key.token

    def target(self) -> Target:
        """Return the addresses of the cluster in use, and a key for it."""
        with self.portal() as portal:
            cluster = self.find_cluster(portal)
            path = self.place(portal, cluster)
            connection = portal.get(f"{path}/connection")
            urls = tuple(connection["endpoints"])
            if not urls:
                hint = f"It is {cluster['status']}: aerolith clusters show {cluster['name']}"
                raise CommandError("the cluster has no addresses", code=UNAVAILABLE, hint=hint)
            known = self.profile().keys.get(cluster["id"])
            if self._has_given_key:
                anchor = _anchor_of(connection) if known is None else known.anchor
                return Target(urls, StoredKey("", self._given_key(), anchor), cluster["id"])
            if known is None:
                known = self._make_key(portal, path, cluster, _anchor_of(connection))
            return Target(urls, known, cluster["id"])

    def _make_key(
        self, portal: Portal, path: str, cluster: dict[str, Any], anchor: TrustAnchor | None
    ) -> StoredKey:
        """Make a key for this machine and remember it, with the public keys of the nodes."""
        body = {
            "name": f"aerolith on {socket.gethostname()}"[:64],
            "expires": days_from_now(KEY_DAYS),
        }
        try:
            made = portal.write("POST", f"{path}/keys", body)
        except PortalRefusedError as error:
            if error.problem_code == "forbidden":
                error.hint = f"You may not make keys: ask for one, and set {KEY_VARIABLE}."
            raise
        output.note(f"made the key {made['id']} of {cluster['name']}, good for {KEY_DAYS} days")
        key = StoredKey(made["id"], made["secret"], anchor)
        with profiles.changing() as held:
            held[0] = profiles.with_key(held[0], self.name, cluster["id"], key)
        return key

    @property
    def has_own_key(self) -> bool:
        """Whether the caller brought a key, which may do more than one that this program makes."""
        return bool(self.urls) or self._has_given_key

    @property
    def _has_given_key(self) -> bool:
        return self.key_file is not None or bool(os.environ.get(KEY_VARIABLE))

    def _given_key(self) -> str:
        if self.key_file is not None:
            return read_secret(self.key_file)
        key = os.environ.get(KEY_VARIABLE, "")
        if not key:
            hint = f"Set {KEY_VARIABLE}, or name a file with the key: --key-file"
            raise CommandError("--url needs an API key of the cluster", code=USAGE, hint=hint)
        return key


def session_of(context: typer.Context) -> Session:
    """Return what was chosen in front of the command."""
    session = context.obj
    assert isinstance(session, Session)
    return session


def read_secret(path: Path) -> str:
    """Read a token from the first line of a file; - reads standard input.

    Raises:
        CommandError: There is none.
    """
    try:
        with open(0 if str(path) == "-" else path, "rb", closefd=str(path) != "-") as file:
            data = file.read(KEY_BYTES_MAX)
    except OSError as error:
        raise CommandError(f"cannot read {path}: {error.strerror}", code=USAGE) from error
    secret = data.decode(errors="replace").partition("\n")[0].strip()
    if not secret or not secret.isascii() or not secret.isprintable():
        raise CommandError(f"there is no token in {path}", code=USAGE)
    return secret


def _anchor_of(connection: dict[str, Any]) -> TrustAnchor | None:
    told = connection.get("trust_anchor")
    return None if told is None else msgspec.convert(told, TrustAnchor)


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
