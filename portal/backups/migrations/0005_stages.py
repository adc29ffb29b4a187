from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [("backups", "0004_segments")]

    operations = [
        migrations.AddField(
            "drill", "stage", models.CharField(blank=True, default="", max_length=80)
        ),
    ]
