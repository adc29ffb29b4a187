"""The tables of the catalogue and the first price list."""

from decimal import Decimal
from typing import Any

from django.db import migrations, models

GIGABYTE = 10**9
PLANS: list[dict[str, Any]] = [
    dict(code="free", name="Free", tagline="To try it out", monthly_price=Decimal("0.00"), nodes=1,
         node_counts=[1], storage_bytes=GIGABYTE, calls_per_month=10_000, clusters_max=1,
         support="Community", features=["Document API", "Live metrics"], position=1),
    dict(code="starter", name="Starter", tagline="For a first service", monthly_price=Decimal("29.00"),
         nodes=3, node_counts=[3, 4, 7], storage_bytes=10 * GIGABYTE, calls_per_month=100_000,
         clusters_max=5, support="E-mail", features=["Everything in Free", "Replicated by PBFT"],
         position=2),
    dict(code="professional", name="Professional", tagline="For production",
         monthly_price=Decimal("149.00"), nodes=6, node_counts=[4, 5, 6, 7, 10],
         storage_bytes=100 * GIGABYTE, calls_per_month=1_000_000, clusters_max=20,
         support="Priority", features=["Everything in Starter", "Byzantine fault tolerance"],
         position=3),
    dict(code="enterprise", name="Enterprise", tagline="By contract", monthly_price=None, nodes=7,
         node_counts=[4, 5, 6, 7, 10], storage_bytes=None, calls_per_month=None, clusters_max=None,
         support="Dedicated", features=["SSO and LDAP", "Custom SLA", "Dedicated support"],
         position=4),
]


def load(apps: Any, schema_editor: Any) -> None:
    for row in PLANS:
        apps.get_model("plans", "Plan").objects.update_or_create(code=row["code"], defaults=row)
    apps.get_model("plans", "Region").objects.update_or_create(
        code="local-1", defaults={"name": "This machine", "position": 1}
    )


class Migration(migrations.Migration):
    initial = True
    dependencies = []
    operations = [
        migrations.CreateModel(
            name="Plan",
            fields=[
                ("code", models.SlugField(max_length=32, primary_key=True, serialize=False)),
                ("name", models.CharField(max_length=64)),
                ("tagline", models.CharField(blank=True, default="", max_length=200)),
                ("monthly_price", models.DecimalField(blank=True, decimal_places=2, max_digits=12, null=True)),
                ("nodes", models.PositiveSmallIntegerField()),
                ("node_counts", models.JSONField(default=list)),
                ("storage_bytes", models.BigIntegerField(blank=True, null=True)),
                ("calls_per_month", models.BigIntegerField(blank=True, null=True)),
                ("clusters_max", models.PositiveSmallIntegerField(blank=True, null=True)),
                ("support", models.CharField(max_length=64)),
                ("features", models.JSONField(default=list)),
                ("position", models.PositiveSmallIntegerField()),
                ("is_offered", models.BooleanField(default=True)),
            ],
            options={
                "ordering": ["position"],
                "constraints": [
                    models.CheckConstraint(condition=models.Q(nodes__gte=1), name="plan_has_nodes"),
                    models.CheckConstraint(
                        condition=models.Q(("monthly_price", None), ("monthly_price__gte", 0), _connector="OR"),
                        name="plan_price_positive",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Region",
            fields=[
                ("code", models.SlugField(max_length=32, primary_key=True, serialize=False)),
                ("name", models.CharField(max_length=64)),
                ("position", models.PositiveSmallIntegerField()),
                ("is_offered", models.BooleanField(default=True)),
            ],
            options={"ordering": ["position"]},
        ),
        migrations.RunPython(load, migrations.RunPython.noop),
    ]
