"""The demonstration: an organization with a 4-node cluster that holds the world's airports.

Everything goes through the same services and the same network calls as a customer's own.
"""

import json
from collections.abc import Callable, Iterator
from itertools import batched
from time import sleep

import airportsdata

from dataplane.client import ApiError, Client, ClientError
from dataplane.client.keys import SCOPES
from portal.access.resolving import access_of
from portal.access.types import Access
from portal.accounts.services import token_create
from portal.clusters.models import Cluster
from portal.clusters.services import cluster_create, key_create
from portal.commands.accounts import DEMO_SLUG, demo_user_ensure
from portal.commands.state import Installation, State, write_secret
from portal.commands.traffic import COLLECTION
from portal.core.errors import PortalError
from portal.core.supervision import Json
from portal.core.tenancy import public_context, tenant_context
from portal.organizations.models import Membership, Organization
from portal.organizations.services import organization_create
from portal.plans.selectors import region_list

CLUSTER_NAME = "Airports"
PLAN = "professional"
NODES_COUNT = 4
BATCH_COUNT = 500
WAIT_S = 180.0
POLL_S = 0.2
# Made now, or there already from a start that broke off: then it is left at its version.
LOADED = frozenset({201, 409})


class DemoError(Exception):
    """The demonstration cannot be made; the text says why."""


class Demo:
    """Each step looks first whether it is done, so a start that broke off is taken up again."""

    def __init__(
        self, installation: Installation, state: State, tell: Callable[[str], object]
    ) -> None:
        self._file = installation.home / "demo.json"
        self._state = state
        self._tell = tell
        self._known: dict[str, Json] = self._read()

    def ensure(self) -> None:
        """Make what is missing and wait until the cluster serves.

        Raises:
            DemoError: The cluster does not come up, or refuses the data.
        """
        access = self._access()
        try:
            with tenant_context(access.organization.schema_name):
                cluster = self._cluster(access)
                self._keys(access, cluster)
                nodes = {node.index: node.url for node in cluster.members}
        except PortalError as error:
            raise DemoError(f"{error.code}: {error.detail}") from error
        with Client(list(nodes.values()), str(self._known["api_key"])) as client:
            self._wait_ready(client)
            if not self._known.get("complete"):
                self._load(client)
        self._known |= {
            "org": DEMO_SLUG,
            "complete": True,
            "cluster": {
                "id": str(cluster.pk),
                "nodes": [{"id": number, "url": url} for number, url in nodes.items()],
                "api_key": self._known["api_key"],
            },
        }
        self._write()

    def _access(self) -> Access:
        user = demo_user_ensure(self._state)
        with public_context():
            organization = Organization.objects.filter(slug=DEMO_SLUG).first()
            if organization is None:
                organization = organization_create(owner=user, name="Demo", slug=DEMO_SLUG)
            # With it: inside the tenant's role the organization cannot be read.
            memberships = Membership.objects.select_related("organization")
            membership = memberships.get(user=user, organization=organization)
        with tenant_context(organization.schema_name):
            return access_of(user, membership)

    def _cluster(self, access: Access) -> Cluster:
        cluster = Cluster.objects.filter(name=CLUSTER_NAME, deleted_at=None).first()
        if cluster is None:
            self._known = {}
            self._tell("creating the cluster")
            cluster, _ = cluster_create(
                access,
                name=CLUSTER_NAME,
                plan=PLAN,
                region=region_list()[0].code,
                nodes=NODES_COUNT,
                sandbox=True,
            )
        elif self._known_cluster() not in {None, str(cluster.pk)}:
            # The home was used with another database in between.
            self._known = {}
        for _ in range(int(WAIT_S / POLL_S)):
            cluster.refresh_from_db()
            if cluster.ready_at is not None:
                return cluster
            if cluster.status == "needs_operator":
                operation = cluster.operations.first()
                raise DemoError(f"the cluster: {operation.error if operation else cluster.status}")
            sleep(POLL_S)
        raise DemoError(f"the cluster is {cluster.status} after {WAIT_S:g} s")

    def _keys(self, access: Access, cluster: Cluster) -> None:
        if "api_key" not in self._known:
            _, secret = key_create(
                access, cluster, name="Demonstration", scopes=list(SCOPES), collections=["*"]
            )
            self._known["api_key"] = secret
            self._write()
        if "api_token" not in self._known:
            _, secret = token_create(
                user=access.user, organization=access.organization, name="Demonstration"
            )
            self._known["api_token"] = secret
            self._write()

    def _wait_ready(self, client: Client) -> None:
        for _ in range(int(WAIT_S / POLL_S)):
            try:
                if client.ready():
                    return
            except ClientError:
                pass
            sleep(POLL_S)
        raise DemoError(f"the cluster's nodes are not ready after {WAIT_S:g} s")

    def _load(self, client: Client) -> None:
        self._tell("loading the airports")
        count = 0
        for batch in batched(airports(), BATCH_COUNT):
            operations: list[dict[str, Json]] = [
                {"op": "create", "id": str(document.pop("_id")), "document": document}
                for document in batch
            ]
            try:
                results = client.bulk(COLLECTION, operations)
            except ApiError as error:
                raise DemoError(f"the airports are refused: {error}") from error
            refused = [result for result in results if int(result["status"]) not in LOADED]
            if refused:
                raise DemoError(f"an airport is refused: {refused[0]}")
            count += len(results)
        self._tell(f"loaded {count} airports")

    def _known_cluster(self) -> str | None:
        cluster = self._known.get("cluster")
        return str(cluster.get("id")) if isinstance(cluster, dict) else None

    def _read(self) -> dict[str, Json]:
        try:
            content: Json = json.loads(self._file.read_text())
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def _write(self) -> None:
        write_secret(self._file, json.dumps(self._known, indent=2))


def airports() -> Iterator[dict[str, Json]]:
    """Yield every airport as a document; empty texts are left out."""
    for code, row in airportsdata.load("ICAO").items():
        document: dict[str, Json] = {"_id": code, "icao": code}
        for name in ("iata", "name", "city", "subd", "country", "tz", "lid"):
            if text := str(row[name]):
                document[name] = text
        document["elevation"] = round(float(row["elevation"]))
        document["location"] = {"lat": float(row["lat"]), "lon": float(row["lon"])}
        yield document
