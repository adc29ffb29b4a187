"""Ports of gRPC, and the keys that sign tokens of members."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("clusters", "0005_backups")]
    operations = [
        migrations.AddField("node", "grpc_port", models.PositiveIntegerField(default=0)),
        migrations.AddField("cluster", "token_seed", models.BinaryField(default=b"")),
        migrations.AddField(
            "cluster", "token_issuer", models.CharField(blank=True, default="", max_length=32)
        ),
    ]
