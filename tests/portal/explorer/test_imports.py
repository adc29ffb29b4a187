"""Imports into real nodes: resumable at every batch, never twice, errors row by row."""

import json
from datetime import timedelta

import pytest

from portal.core import clock
from portal.core.errors import Conflict, Invalid
from portal.explorer import imports
from portal.explorer.imports import (
    import_advance,
    import_cancel,
    import_prepare,
    import_start,
    imports_stranded,
)
from portal.explorer.models import ImportJob

ROWS = 1234


def csv_file(count=ROWS):
    return ("id,name,size\n" + "".join(f"{i},thing {i},{i * 2}\n" for i in range(count))).encode()


def start(access, cluster, collection, content, *, name="things.csv", **choices):
    job = import_prepare(access, cluster, collection=collection, name=name, content=content)
    return import_start(
        access, job, columns=choices.get("columns", {}), id_field=choices.get("id", job.id_field)
    )


def finish(job):
    for _ in range(50):
        if not import_advance(job.pk):
            break
    job.refresh_from_db()
    return job


def count(client, collection):
    found = {item["name"]: item["documents"] for item in client.collections()}
    return found.get(collection, 0)


def test_a_csv_becomes_typed_documents(access, cluster, client):
    job = finish(start(access, cluster, "typed", csv_file()))
    assert (job.state, job.done_count, job.created_count) == ("succeeded", ROWS, ROWS)
    assert bytes(job.content) == b""
    assert count(client, "typed") == ROWS
    document = client.get("typed", "7")
    assert (document["name"], document["size"]) == ("thing 7", 14)


def test_the_same_file_again_replaces_and_adds_nothing(access, cluster, client):
    finish(start(access, cluster, "again", csv_file()))
    job = finish(start(access, cluster, "again", csv_file()))
    assert (job.created_count, job.updated_count) == (0, ROWS)
    assert count(client, "again") == ROWS


def test_a_worker_that_dies_between_cluster_and_database_writes_nothing_twice(
    access, cluster, client, monkeypatch
):
    job = start(access, cluster, "died", csv_file())

    def die(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(imports, "_record", die)
        with pytest.raises(KeyboardInterrupt):
            import_advance(job.pk)
    assert count(client, "died") == 500
    assert not import_advance(job.pk), "the dead worker's lease still holds"
    with clock.frozen(clock.now() + timedelta(minutes=1)):
        assert imports_stranded() == [job.pk]
        job = finish(job)
    assert (job.state, job.created_count, job.updated_count) == ("succeeded", ROWS, 0)
    assert count(client, "died") == ROWS


def test_bad_rows_are_listed_and_the_others_imported(access, cluster, client):
    text = '{"_id":"a","n":1}\n{oops\n{"_id":"b/c"}\n{"_id":"d","_secret":1}\n{"_id":"e"}\n'
    job = finish(start(access, cluster, "bad", text.encode(), name="x.ndjson"))
    assert (job.state, job.created_count, job.failed_count) == ("succeeded", 2, 3)
    assert [error["row"] for error in job.errors] == [2, 3, 4]


def test_rows_without_an_id_stay_single_when_imported_again(access, cluster, client):
    text = json.dumps([{"n": i} for i in range(10)]).encode()
    finish(start(access, cluster, "nameless", text, name="x.json"))
    finish(start(access, cluster, "nameless", text, name="x.json"))
    assert count(client, "nameless") == 10


def test_a_cancelled_import_stops(access, cluster, client):
    job = start(access, cluster, "cancelled", csv_file())
    import_cancel(access, job)
    assert not import_advance(job.pk)
    job.refresh_from_db()
    assert (job.state, job.done_count) == ("cancelled", 0)


def test_an_import_starts_once_and_few_run_at_a_time(access, cluster):
    job = start(access, cluster, "limits", csv_file(3))
    with pytest.raises(Conflict):
        import_start(access, job, columns={}, id_field="id")
    for _ in range(4):
        start(access, cluster, "limits", csv_file(3))
    with pytest.raises(Conflict, match="At most 5"):
        start(access, cluster, "limits", csv_file(3))


def test_files_that_cannot_be_read_are_refused_before_anything_is_written(access, cluster):
    for content in (b"", b"\xff\xff\x00", b"x" * (16 * 2**20 + 1)):
        with pytest.raises(Invalid):
            import_prepare(access, cluster, collection="x", name="x.csv", content=content)
    assert not ImportJob.objects.exists()
