"""The schema of a collection: tried, stored, and its faults shown by field."""

import pytest

from portal.audit.models import AuditEvent
from portal.core.tenancy import tenant_context
from tests.portal.explorer.conftest import text

SCHEMA = '{"type": "object", "required": ["size"], "properties": {"size": {"maximum": 5}}}'


@pytest.fixture
def stored(client):
    client.collection_put("towns", {"conflict_policy": "lww"})
    client.put("towns", "oslo", {"size": 7})
    client.put("towns", "bergen", {"size": 3})
    yield
    client.collection_drop("towns")


def options(client):
    return next(found["options"] for found in client.collections() if found["name"] == "towns")


def test_a_schema_is_tried_before_it_is_stored(browser, base, stored, client, acme):
    assert "Schema" in text(browser.get(base))
    url = f"{base}schema/"
    assert browser.get(url).status_code == 200
    form = {"schema": SCHEMA, "validation": "moderate"}
    page = text(browser.post(url, {**form, "do": "try"}))
    assert "1 of 2 documents do not fit" in page
    assert "Nothing was changed." in page
    assert "/size</code> must be at most 5" in page
    assert "schema" not in options(client)
    page = text(browser.post(url, {**form, "do": "save"}))
    assert "Saved." in page
    kept = options(client)
    assert kept["schema"]["required"] == ["size"]
    assert (kept["validation"], kept["conflict_policy"]) == ("moderate", "lww")
    page = text(browser.get(url))
    assert '"maximum": 5' in page
    refused = browser.post(f"{base}new/", {"document": '{"size": 9}'})
    assert refused.status_code == 422
    assert "/size</code>: must be at most 5" in text(refused)
    assert "no schema any more" in text(browser.post(url, {"schema": "", "do": "save"}))
    assert options(client) == {"conflict_policy": "lww"}
    with tenant_context(acme.schema_name):
        actions = list(AuditEvent.objects.values_list("action", flat=True))
    assert actions.count("collection.schema_set") == 2


def test_what_is_no_schema_is_shown_with_its_place(browser, base, stored, client):
    url = f"{base}schema/"
    refused = browser.post(url, {"schema": '{"type": "town"}', "do": "save"})
    assert refused.status_code == 422
    assert "/schema/type" in text(refused)
    assert '{"type": "town"}' in text(refused), "what was typed is not lost"
    for wrong in ("{", "[]"):
        assert browser.post(url, {"schema": wrong, "do": "try"}).status_code == 422
    assert "schema" not in options(client)
