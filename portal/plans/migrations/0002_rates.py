"""How many requests of one key each node takes in a second."""

from typing import Any

from django.db import migrations, models

RATES = {"free": 100, "starter": 500, "professional": 2_000}


def load(apps: Any, schema_editor: Any) -> None:
    for code, rate in RATES.items():
        apps.get_model("plans", "Plan").objects.filter(code=code).update(requests_per_s=rate)


class Migration(migrations.Migration):
    dependencies = [("plans", "0001_initial")]
    operations = [
        migrations.AddField(
            "plan", "requests_per_s", models.PositiveIntegerField(blank=True, null=True)
        ),
        migrations.RunPython(load, migrations.RunPython.noop),
    ]
