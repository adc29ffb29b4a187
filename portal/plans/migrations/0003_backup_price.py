"""What a gigabyte of stored backups is on the price list, in US dollars a month."""

from decimal import Decimal
from typing import Any

from django.db import migrations, models

PRICES = {"free": Decimal(0), "starter": Decimal("0.05"), "professional": Decimal("0.03")}


def load(apps: Any, schema_editor: Any) -> None:
    for code, price in PRICES.items():
        apps.get_model("plans", "Plan").objects.filter(code=code).update(backup_gb_price=price)


class Migration(migrations.Migration):
    dependencies = [("plans", "0002_rates")]
    operations = [
        migrations.AddField(
            "plan",
            "backup_gb_price",
            models.DecimalField(blank=True, decimal_places=4, max_digits=10, null=True),
        ),
        migrations.RunPython(load, migrations.RunPython.noop),
    ]
