"""Where the members are, told to any key; and who a node is, told to anybody."""

import httpx
import pytest

from dataplane.client.anchors import is_signed
from dataplane.wire.proofs import identity_payload
from tests.dataplane.gateways.conftest import problem


def test_any_valid_key_may_know_where_the_members_are_and_nobody_else(api, node, make_key):
    told = {"epoch": 0, "gateways": [{"id": 0, "url": node.urls[0]}]}
    for scopes in (["documents:read"], ["documents:write"], ["cluster:admin"]):
        headers, _ = make_key(*scopes, collections=["none-such"])
        answer = api.get("/gateways", headers=headers)
        assert answer.json() == told
    assert api.get("/gateways?epoch=0").json() == {**told, "changes": []}
    problem(api.get("/gateways", headers={"Authorization": ""}), 401, "unauthenticated")
    for wrong in ("", "-1", "x", "9" * 19):
        problem(api.get("/gateways", params={"epoch": wrong}), 422, "invalid")


def test_every_answer_names_the_epoch(api, documents):
    for answer in (api.get("/stats"), api.get(f"{documents}/none"), api.get("/nothing")):
        assert answer.headers["Aerolith-Epoch"] == "0"


def test_a_node_signs_the_nonce_and_its_own_address_for_anybody(node):
    url, nonce = node.urls[0], bytes(range(32))
    said = httpx.get(f"{url}/identity", params={"nonce": nonce.hex()}).json()
    assert (said["id"], said["url"]) == (0, url)
    key, cluster_id = node.anchor.public_key(0), bytes.fromhex(node.cluster_id)
    payload = identity_payload(cluster_id, replica=0, url=url, nonce=nonce)
    assert is_signed(key, payload, bytes.fromhex(said["signature"]))
    other = identity_payload(cluster_id, replica=0, url=url, nonce=bytes(32))
    assert not is_signed(key, other, bytes.fromhex(said["signature"]))


@pytest.mark.parametrize("nonce", ["", "00", "xx" * 32, "00" * 33])
def test_a_nonce_of_another_form_is_not_signed(node, nonce):
    problem(httpx.get(f"{node.urls[0]}/identity", params={"nonce": nonce}), 422, "invalid")
