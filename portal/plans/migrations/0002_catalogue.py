"""The first catalogue."""

from decimal import Decimal

from django.db import migrations

GB = 10**9

PLANS = [
    ("free", "Free", Decimal(0), 1, [1], GB, 10_000, "Community", ["For trying things out"]),
    ("starter", "Starter", Decimal(29), 3, [3, 4], 10 * GB, 100_000, "E-mail",
     ["Survives a crashed node", "4 nodes: survives a lying one"]),
    ("professional", "Professional", Decimal(149), 6, [4, 6, 7, 10], 100 * GB, 1_000_000,
     "Priority", ["Byzantine fault tolerance", "Live metrics"]),
    ("enterprise", "Enterprise", None, 6, [4, 6, 7, 10], None, None, "Dedicated",
     ["SSO and LDAP", "Custom SLA", "Unlimited calls and storage"]),
]


def fill(apps, schema_editor):
    plan = apps.get_model("plans", "Plan")
    for position, row in enumerate(PLANS):
        code, name, price, nodes, counts, storage, calls, support, features = row
        plan.objects.update_or_create(
            code=code,
            defaults={
                "name": name, "monthly_price": price, "nodes": nodes, "node_counts": counts,
                "storage_bytes": storage, "calls_per_month": calls, "support": support,
                "features": features, "position": position,
            },
        )
    region = apps.get_model("plans", "Region")
    region.objects.update_or_create(code="local-1", defaults={"name": "This machine"})


class Migration(migrations.Migration):
    dependencies = [("plans", "0001_initial")]
    operations = [migrations.RunPython(fill, migrations.RunPython.noop)]
