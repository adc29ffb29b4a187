"""Everything a node needs to know, in one file: the specification a driver hands to a node."""

import re
from pathlib import Path
from typing import Final, Literal

import msgspec

from dataplane.client.errors import SpecError

SPEC_BYTES_MAX: Final = 1024 * 1024
PUBLIC_KEY_HEX: Final = 64
MEMBERS_MAX: Final = 31
ARCHIVE_SCHEMES: Final = ("https://", "http://", "file:///")
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PREFIX: Final = re.compile(r"([A-Za-z0-9_-]{1,64}/){0,8}")


class MemberSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A node of the cluster as the others see it; keys are hex of 32 bytes (Ed25519)."""

    id: int
    host: str
    peer_port: int
    http_port: int
    public_key: str
    gateway_public_key: str

    @property
    def url(self) -> str:
        """Where clients reach the node."""
        return f"http://{self.host}:{self.http_port}"


class TlsSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Files of the links between nodes: the cluster's CA, and this node's certificate and key."""

    ca_file: str
    cert_file: str
    key_file: str


class KeySpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An API key that exists from the start; `hash` is the hex SHA-256 of the whole token."""

    id: str
    name: str
    hash: str
    scopes: tuple[str, ...]
    collections: tuple[str, ...] = ("*",)
    expires_ms: int | None = None
    requests_per_s: int | None = None
    kind: str = "key"


class GenesisSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The state before sequence 1; equal on every node of a cluster."""

    keys: tuple[KeySpec, ...] = ()
    calls_limit: int | None = None
    storage_limit_bytes: int | None = None
    usage_window_ms: int = 60_000
    members: tuple[MemberSpec, ...] = ()
    """The members of epoch 0 when they are not those of the specification any more."""
    admin_public_key: str | None = None
    """Whose orders change the members (hex); without it nobody's do."""
    requests_per_s: int | None = None
    """How many requests of one key all nodes together take in a second."""


class RouteSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where this node dials a member that is not at the address the cluster knows it by."""

    id: int
    host: str
    port: int


class ServerTlsSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The certificate (with its chain) and the key of a listener for clients, as PEM files."""

    cert_file: str
    key_file: str


class UsageSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where usage events go; the token is in a file of its own."""

    url: str
    token_file: str


class LimitsSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bounds of one node."""

    body_bytes_max: int = 16 * 1024 * 1024
    connections_max: int = 1_024
    write_timeout_ms: int = 5_000
    requests_max: int = 2_048
    """Under way at once, over all protocols, shared evenly by the keys that have any."""
    memory_tier_bytes: int = 32 * 1024 * 1024
    """For documents that are asked for often, ready to be answered; 0 keeps none."""


type Algorithm = Literal["aes-256-gcm", "chacha20-poly1305", "xchacha20-poly1305"]


class FileKeySpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="file"):
    """The key-encryption key is in a file of mode 0600: for development."""

    path: str


class TransitKeySpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="transit"):
    """The key-encryption key never leaves an OpenBao or Vault server; the token is in a file."""

    url: str
    key: str
    token_file: str
    mount: str = "transit"
    ca_file: str | None = None


class EncryptionSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How what the node writes is encrypted; no key is in here.

    `wrapped_key_file` has the cluster key as the provider wrapped it; the provider unwraps it at
    each start of the node. `algorithm` is that of the first data key; rotation may choose another.
    """

    wrapped_key_file: str
    provider: FileKeySpec | TransitKeySpec
    algorithm: Algorithm = "aes-256-gcm"


class ArchiveSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the archive tier keeps segments; no credential is in here.

    `url` is the S3 endpoint, or `file:///a/directory` that all nodes of the cluster share: for
    development on one machine. All nodes need the same `url`, `bucket` and `prefix`.
    """

    url: str
    bucket: str
    prefix: str = ""
    """What the names of all objects begin with; the id of the cluster follows it."""
    region: str = "us-east-1"
    credentials_file: str | None = None
    """JSON with `access_key_id`, `secret_access_key` and maybe `session_token`, of mode 0600.

    None: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN of the environment.
    """


class NodeSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One node of one cluster."""

    cluster_id: str
    cluster_name: str
    organization: str
    node_id: int
    members: tuple[MemberSpec, ...]
    data_dir: str
    signing_key_file: str
    gateway_key_file: str
    tls: TlsSpec
    genesis: GenesisSpec
    version: int = 1
    epoch: int = 0
    base: int = 0
    """The sequence at which the epoch before ended; 0 in epoch 0."""
    profile: Literal["development", "production"] = "development"
    limits: LimitsSpec = LimitsSpec()
    usage: UsageSpec | None = None
    grpc_port: int | None = None
    """Where this node speaks gRPC; None: nowhere."""
    grpc_tls: ServerTlsSpec | None = None
    """What it proves itself to clients of gRPC with; None: it speaks in the clear."""
    otlp_url: str | None = None
    """Where an OpenTelemetry collector takes spans (OTLP over HTTP); None: they are not told."""
    learner: MemberSpec | None = None
    """This node, when it is not a member of the epoch (yet)."""
    routes: tuple[RouteSpec, ...] = ()
    """For networks that translate addresses; certificates say who answers there."""
    encryption: EncryptionSpec | None = None
    archive: ArchiveSpec | None = None
    """Where cold segments may go that nobody touches for longer still; None: nowhere."""

    @property
    def me(self) -> MemberSpec:
        """This node: among the members, or one that learns beside them."""
        known = (member for member in self.members if member.id == self.node_id)
        found = next(known, self.learner)
        assert found is not None, "a checked specification has its own node"
        return found


def _is_hex(text: str, length: int) -> bool:
    return len(text) == length and all(char in "0123456789abcdef" for char in text)


def check_spec(spec: NodeSpec) -> None:
    """Check what the types do not say.

    Raises:
        SpecError: Names the first thing that is wrong.
    """
    if spec.version != 1:
        raise SpecError(f"version {spec.version} is not known to this node")
    if not _is_hex(spec.cluster_id, 32):
        raise SpecError("cluster_id must be 32 lower-case hex digits")
    ids = [member.id for member in spec.members]
    if not ids or len(ids) > MEMBERS_MAX or ids != sorted(set(ids)):
        raise SpecError("members must be 1 to 31 nodes with distinct ids in rising order")
    own = spec.learner.id if spec.learner is not None else spec.node_id
    if own != spec.node_id or (spec.node_id not in ids) != (spec.learner is not None):
        raise SpecError(f"node_id {spec.node_id} is neither a member nor the learner")
    if spec.genesis.admin_public_key is not None and not _is_hex(
        spec.genesis.admin_public_key, PUBLIC_KEY_HEX
    ):
        raise SpecError("genesis.admin_public_key must be 64 hex digits")
    for member in (*spec.members, *spec.genesis.members, *filter(None, (spec.learner,))):
        _check_member(member)
    _check_ports(spec)
    if spec.archive is not None:
        _check_archive(spec.archive)
    for key in spec.genesis.keys:
        if not _is_hex(key.hash, 64):
            raise SpecError(f"genesis key {key.id} needs a SHA-256 hash of 64 hex digits")


def _check_ports(spec: NodeSpec) -> None:
    ports = [route.port for route in spec.routes] + [spec.grpc_port or 1]
    if len(spec.routes) > MEMBERS_MAX or any(not 0 < port < 65536 for port in ports):
        raise SpecError(f"routes are at most {MEMBERS_MAX}, and all ports are in range")
    if spec.grpc_tls is not None and spec.grpc_port is None:
        raise SpecError("grpc_tls needs a grpc_port")


def _check_archive(archive: ArchiveSpec) -> None:
    if not archive.url.startswith(ARCHIVE_SCHEMES):
        raise SpecError("archive.url must begin with https://, http:// or file:///")
    if "@" in archive.url or "?" in archive.url:
        # It is shown in answers and logs.
        raise SpecError("archive.url must hold no credentials: use archive.credentials_file")
    if not _BUCKET.fullmatch(archive.bucket):
        raise SpecError("archive.bucket must be 3 to 63 lower-case letters, digits, dots, dashes")
    if not _PREFIX.fullmatch(archive.prefix):
        raise SpecError("archive.prefix must be parts of letters and digits that end with /")


def _check_member(member: MemberSpec) -> None:
    if not _is_hex(member.public_key, 64) or not _is_hex(member.gateway_public_key, 64):
        raise SpecError(f"member {member.id} needs two public keys of 64 hex digits")
    if not (0 < member.peer_port < 65536 and 0 < member.http_port < 65536):
        raise SpecError(f"member {member.id} has a port out of range")


def load_spec(path: Path) -> NodeSpec:
    """Read and check a specification.

    Raises:
        SpecError: The file is missing, too large, not JSON or wrong; says which.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SpecError(f"cannot read {path.name}: {error.strerror}") from error
    if len(data) > SPEC_BYTES_MAX:
        raise SpecError(f"{path.name} is larger than {SPEC_BYTES_MAX} bytes")
    try:
        spec = msgspec.json.decode(data, type=NodeSpec)
    except msgspec.DecodeError as error:
        raise SpecError(f"{path.name}: {error}") from error
    check_spec(spec)
    return spec


def dump_spec(spec: NodeSpec) -> bytes:
    """Return the specification as readable JSON; it holds hashes and file names, no secrets."""
    return msgspec.json.format(msgspec.json.encode(spec), indent=2)
