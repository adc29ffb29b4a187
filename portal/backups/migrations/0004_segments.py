from typing import Any

from django.db import migrations, models
from django.db.models import F


def runs_find(apps: Any, _editor: object) -> None:
    """Say of each segment where its run without a gap begins, and that it is stored."""
    segments = apps.get_model("backups", "ArchiveSegment").objects
    segments.update(stored_at=F("created_at"))
    before = None
    for segment in segments.order_by("cluster", "first").iterator():
        segment.run_first = segment.first
        if before and before.cluster_id == segment.cluster_id and before.last + 1 == segment.first:
            segment.run_first = before.run_first
        segment.save(update_fields=["run_first"])
        before = segment


class Migration(migrations.Migration):

    dependencies = [("backups", "0003_drills")]

    operations = [
        migrations.AddField(
            "archivesegment", "run_first", models.PositiveBigIntegerField(default=0), False
        ),
        migrations.AddField("archivesegment", "stored_at", models.DateTimeField(null=True)),
        migrations.AlterField(
            "archivesegment", "size_bytes", models.PositiveBigIntegerField(default=0)
        ),
        migrations.RunPython(runs_find, migrations.RunPython.noop, elidable=True),
    ]
