"""Plans and regions: data, not code, so that an operator can change the offer."""

from typing import ClassVar, override

from django.db import models


class Plan(models.Model):
    """An offer: limits, node counts and a price; no price means by contract."""

    code = models.SlugField(primary_key=True, max_length=32)
    name = models.CharField(max_length=64)
    tagline = models.CharField(max_length=200, blank=True, default="")
    monthly_price = models.DecimalField(max_digits=12, decimal_places=2, null=True, blank=True)
    # The node count that the monthly price is for; other sizes are priced by the node.
    nodes = models.PositiveSmallIntegerField()
    node_counts = models.JSONField(default=list)
    # None: unlimited.
    storage_bytes = models.BigIntegerField(null=True, blank=True)
    calls_per_month = models.BigIntegerField(null=True, blank=True)
    # Of every key, over all nodes; None: unlimited.
    requests_per_s = models.PositiveIntegerField(null=True, blank=True)
    # US dollars for a gigabyte of stored backups in a month; None: by contract.
    backup_gb_price = models.DecimalField(max_digits=10, decimal_places=4, null=True, blank=True)
    clusters_max = models.PositiveSmallIntegerField(null=True, blank=True)
    support = models.CharField(max_length=64)
    features = models.JSONField(default=list)
    position = models.PositiveSmallIntegerField()
    is_offered = models.BooleanField(default=True)

    class Meta:
        """In the order of the price list."""

        ordering: ClassVar = ["position"]
        constraints: ClassVar = [
            models.CheckConstraint(condition=models.Q(nodes__gte=1), name="plan_has_nodes"),
            models.CheckConstraint(
                condition=models.Q(monthly_price=None) | models.Q(monthly_price__gte=0),
                name="plan_price_positive",
            ),
        ]

    @override
    def __str__(self) -> str:
        return self.name


class Region(models.Model):
    """A place where nodes run."""

    code = models.SlugField(primary_key=True, max_length=32)
    name = models.CharField(max_length=64)
    position = models.PositiveSmallIntegerField()
    is_offered = models.BooleanField(default=True)

    class Meta:
        """In the order of the list."""

        ordering: ClassVar = ["position"]

    @override
    def __str__(self) -> str:
        return self.name
