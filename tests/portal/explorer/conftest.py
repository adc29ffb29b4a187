"""A real node, the cluster row that leads to it, and a colleague's browser on one collection."""

import html

import pytest

from portal.core.tenancy import public_context
from tests.portal.single import access, client, cluster, nodes

__all__ = ["access", "client", "cluster", "nodes"]


@pytest.fixture
def browser(alice, client_for):
    return client_for(alice)


@pytest.fixture
def base(browser, cluster):
    # People are looked up first: inside the tenant's role their table cannot be read.
    with public_context():
        yield f"/o/acme/clusters/{cluster.pk}/data/c/towns/"


def text(response) -> str:
    return html.unescape(response.content.decode())
