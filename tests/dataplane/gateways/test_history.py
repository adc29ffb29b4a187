"""The history of a document over HTTP: versions, who made them, what they changed, and its ends."""

import pytest

from dataplane.client import AsyncClient, Client
from tests.dataplane.gateways.conftest import problem


@pytest.fixture
def history(api, documents):
    def read(document_id: str = "x", **params):
        return api.get(f"{documents}/{document_id}/history", params=params)

    return read


@pytest.fixture
def versions(api, documents, history):
    """A document with four versions, of which the last is its end."""
    api.put(f"{documents}/x", json={"n": 1, "place": {"city": "Oslo", "zip": "0150"}})
    api.put(f"{documents}/x", json={"n": True, "place": {"city": "Bergen"}, "tags": [1]})
    api.patch(f"{documents}/x", json={"tags": [1, 2], "a/b": 0})
    api.delete(f"{documents}/x")
    return history().json()["versions"]


def test_versions_are_told_newest_first_with_what_they_changed(versions):
    told = [(version["operation"], version["version"]) for version in versions]
    assert told == [("delete", 3), ("update", 3), ("replace", 2), ("insert", 1)]
    assert [version["changed"] for version in versions] == [
        None,
        [{"pointer": "/a~1b", "kind": "added"}, {"pointer": "/tags", "kind": "changed"}],
        [
            {"pointer": "/n", "kind": "changed"},
            {"pointer": "/place/city", "kind": "changed"},
            {"pointer": "/place/zip", "kind": "removed"},
            {"pointer": "/tags", "kind": "added"},
        ],
        None,
    ]
    assert [version["changed_count"] for version in versions] == [None, 2, 4, None]
    assert versions[0]["document"] is None
    first = versions[3]["document"]
    assert (first["_version"], first["place"]) == (1, {"city": "Oslo", "zip": "0150"})


def test_an_old_version_is_put_back_by_an_ordinary_write(api, documents, versions):
    body = {name: value for name, value in versions[3]["document"].items() if name[0] != "_"}
    headers = {"If-None-Match": "*"}
    assert api.put(f"{documents}/x", json=body, headers=headers).status_code == 201
    problem(api.put(f"{documents}/x", json=body, headers=headers), 412, "precondition_failed")


def test_pages_lead_to_the_beginning(history, versions):
    seen, before = [], None
    while True:
        page = history(limit=1, before=before or "").json()
        assert len(page["versions"]) == 1
        seen += page["versions"]
        before = page["next"]
        if before is None:
            break
        assert page["begins"] is None
    assert seen == versions
    assert page["begins"]["reason"] == "created"
    assert page["begins"]["sequence"] == versions[-1]["sequence"]
    assert page["retention"] == {"bytes": 128 * 1024 * 1024, "hours": 24}
    brief = history(include="none").json()["versions"]
    assert brief == [
        {name: value for name, value in version.items() if name != "document"}
        for version in versions
    ]


def test_of_what_never_was_there_is_no_history(history, api, documents):
    problem(history("nothing"), 404, "not_found")
    api.put(f"{documents}/x", json={})
    problem(history("nothing"), 404, "not_found")


@pytest.mark.parametrize(
    ("params", "pointer"),
    [
        ({"limit": "0"}, "/limit"),
        ({"limit": "101"}, "/limit"),
        ({"before": "x"}, "/before"),
        ({"include": "some"}, "/include"),
        ({"consistency": "bounded"}, "/consistency"),
    ],
)
def test_what_makes_no_sense_is_refused(history, versions, params, pointer):
    body = problem(history(**params), 422, "invalid")
    assert body["errors"][0]["pointer"] == pointer


def test_who_may_not_read_the_document_may_not_read_its_history(api, documents, make_key):
    api.put(f"{documents}/x", json={})
    path = f"{documents}/x/history"
    for scopes, options in (
        (["documents:write"], {}),
        (["documents:read"], {"collections": ["other"]}),
    ):
        headers, _ = make_key(*scopes, **options)
        problem(api.get(path, headers=headers), 403, "forbidden")
    headers, _ = make_key("documents:read")
    assert api.get(path, headers=headers).status_code == 200
    conflicts = "/collections/_conflicts/documents/x/history"
    problem(api.get(conflicts, headers=headers), 403, "forbidden")
    problem(api.get(conflicts), 404, "not_found")


def test_who_made_a_version_is_told_to_those_who_may_read_the_audit_log(
    api, documents, history, make_key
):
    writer, writer_id = make_key("documents:write")
    assert history("x").status_code == 404
    api.put(f"{documents}/x", json={"n": 0}, headers=writer)
    page = history().json()
    assert (page["actors"], page["versions"][0]["actor"]) == ("unrecorded", None)
    api.put("/audit", json={"level": "full"})
    try:
        api.put(f"{documents}/x", json={"n": 1}, headers=writer)
        steps = [
            {"op": "put", "collection": documents.split("/")[2], "id": "x", "document": {"n": n}}
            for n in (2, 3)
        ]
        api.post("/transactions", json={"operations": steps}, headers=writer)
        api.delete(f"{documents}/x", headers=writer)
        page = history().json()
        reader, _ = make_key("documents:read")
        blind = api.get(f"{documents}/x/history", headers=reader).json()
    finally:
        api.put("/audit", json={"level": "basic"})
    assert page["actors"] == "shown"
    told = [(version["version"], version["actor"]) for version in page["versions"]]
    assert told == [(4, writer_id), (4, writer_id), (3, writer_id), (2, writer_id), (1, None)]
    assert blind["actors"] == "withheld"
    assert {version["actor"] for version in blind["versions"]} == {None}


async def test_both_clients_read_it(node, collection, documents, versions):
    with Client(node.urls, node.api_key) as client:
        assert list(client.history(collection, "x", limit=3)) == versions
    async with AsyncClient(node.urls, node.api_key) as client:
        brief = [version async for version in client.history(collection, "x", documents=False)]
    assert [version["place"] for version in brief] == [version["place"] for version in versions]
