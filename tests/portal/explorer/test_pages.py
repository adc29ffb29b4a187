"""Pages of the explorer over a real node: look, change, lose no change of others, undo."""

import html
import json
import re

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from dataplane.client.anchors import load_anchor
from dataplane.client.proofs import verify_answer
from portal.core.tenancy import tenant_context


@pytest.fixture
def base(base):
    return base.removesuffix("c/towns/")


@pytest.fixture
def stranger(charlie, client_for):
    return client_for(charlie)


@pytest.fixture
def stored(client):
    client.put("towns", "oslo", {"name": "<script>alert(1)</script>", "size": 7})
    client.put("towns", "bergen", {"name": "Bergen", "size": 3})
    yield
    client.collection_drop("towns")


def test_collections_and_documents_are_listed_escaped(browser, base, stored):
    assert "towns" in browser.get(base).content.decode()
    page = browser.get(f"{base}c/towns/").content.decode()
    assert "<script>alert" not in page
    assert "bergen" in page


def test_a_query_filters_and_its_faults_are_shown(browser, base, stored):
    page = browser.get(f"{base}c/towns/", {"filter": '{"size": {"$gt": 5}}'}).content.decode()
    assert "oslo" in page
    assert "bergen" not in page
    assert "Not valid JSON" in browser.get(f"{base}c/towns/", {"filter": "{"}).content.decode()
    refused = browser.get(f"{base}c/towns/", {"filter": '{"size": {"$near": 5}}'})
    assert "invalid" in refused.content.decode()


def test_a_change_is_saved_only_over_the_version_that_was_seen(browser, base, stored, client):
    url = f"{base}c/towns/document/?id=bergen"
    version = client.get("towns", "bergen")["_version"]
    saved = browser.post(url, {"document": '{"size": 4}', "version": version})
    assert saved.status_code == 302
    late = browser.post(url, {"document": '{"size": 5}', "version": version})
    assert late.status_code == 412
    page = html.unescape(late.content.decode())
    assert "Somebody changed this document" in page
    assert '{"size": 5}' in page
    assert f"You started from version {version}; it is now at version {version + 1}." in page
    assert client.get("towns", "bergen")["size"] == 4


def test_a_deleted_document_can_be_put_back(browser, base, stored, client):
    gone = browser.post(f"{base}c/towns/document/delete/?id=oslo").json()["document"]
    assert browser.get(f"{base}c/towns/document/?id=oslo").status_code == 404
    back = browser.post(
        f"{base}c/towns/document/restore/", json.dumps(gone), content_type="application/json"
    )
    assert back.status_code == 201
    assert client.get("towns", "oslo")["size"] == 7


def test_a_file_is_previewed_before_anything_is_written(browser, base, client):
    file = SimpleUploadedFile("t.csv", b"id,name\n1,a\n2,b\n")
    answer = browser.post(f"{base}imports/new/", {"collection": "fresh", "file": file}, follow=True)
    assert "Start import" in answer.content.decode()
    assert "fresh" not in {item["name"] for item in client.collections()}


def test_a_document_is_verified_against_the_keys_the_portal_knows(
    browser, base, stored, cluster, client, in_acme
):
    version = client.get("towns", "oslo")["_version"]
    page = browser.get(f"{base}c/towns/document/?id=oslo").content.decode()
    assert "id=oslo&amp;verify=1" in page
    assert "Proven" not in page
    proven = browser.get(f"{base}c/towns/document/?id=oslo&verify=1").content.decode()
    assert "alert-success" in proven
    assert f"the document towns/oslo had version {version}" in proven
    with tenant_context(in_acme.schema_name):
        cluster.nodes.update(public_key="11" * 32)
    doubtful = browser.get(f"{base}c/towns/document/?id=oslo&verify=1").content.decode()
    assert "Not proven" in doubtful
    assert "bad_signature" in doubtful


def test_a_preview_keeps_the_order_of_the_file(browser, base):
    file = SimpleUploadedFile("t.csv", b"size,id,a_rather_long_name,b\n1,x,y,z\n")
    answer = browser.post(f"{base}imports/new/", {"collection": "fresh", "file": file}, follow=True)
    head = answer.content.decode().partition("<thead>")[2].partition("</tr>")[0]
    assert re.findall(r"<th>(\w+)</th>", head) == ["size", "id", "a_rather_long_name", "b"]


def test_strangers_find_nothing(stranger, base, stored):
    assert stranger.get(base).status_code == 404


def test_a_browser_gets_the_proof_and_the_keys_to_check_it_with(
    browser, base, stored, cluster, client
):
    version = client.get("towns", "oslo")["_version"]
    url = f"{base}c/towns/document/proof/?id="
    body = browser.get(f"{url}oslo").json()
    anchor = load_anchor(json.dumps(body["anchor"]).encode())
    proven = verify_answer(json.dumps(body["answer"]).encode(), anchor)
    assert (proven.id, proven.version) == ("oslo", version)
    absent = browser.get(f"{url}nowhere").json()["answer"]
    assert verify_answer(json.dumps(absent).encode(), anchor).document is None


def test_a_proof_that_no_node_gives_is_refused_in_words(browser, base, stored, in_acme, cluster):
    with tenant_context(in_acme.schema_name):
        cluster.nodes.update(http_port=1)
    refused = browser.get(
        f"{base}c/towns/document/proof/?id=oslo", headers={"accept": "application/json"}
    )
    assert refused.status_code == 503
    assert refused.json()["code"] == "unreachable"


def test_strangers_get_no_proof(stranger, base, stored):
    assert stranger.get(f"{base}c/towns/document/proof/?id=oslo").status_code == 404
