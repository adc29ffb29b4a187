"""Plans and regions: data that operators edit, in the public schema."""

from typing import ClassVar, override

from django.db import models


class Plan(models.Model):
    """What a cluster costs and includes; None means unlimited, or on request for the price."""

    code = models.SlugField(max_length=32, unique=True)
    name = models.CharField(max_length=64)
    monthly_price = models.DecimalField(max_digits=10, decimal_places=2, null=True, blank=True)
    nodes = models.PositiveSmallIntegerField(help_text="Nodes that the monthly price includes.")
    node_counts = models.JSONField(default=list, help_text="Sizes that can be chosen.")
    storage_bytes = models.BigIntegerField(null=True, blank=True)
    calls_per_month = models.BigIntegerField(null=True, blank=True)
    support = models.CharField(max_length=64)
    features = models.JSONField(default=list, blank=True)
    position = models.PositiveSmallIntegerField(default=0)
    is_active = models.BooleanField(default=True)

    class Meta:
        """Shown in the order of their price."""

        ordering: ClassVar = ["position", "code"]

    @override
    def __str__(self) -> str:
        return self.name

    @property
    def is_self_serve(self) -> bool:
        """Whether a cluster of the plan can be created without talking to anyone."""
        return self.monthly_price is not None


class Region(models.Model):
    """Where nodes can be placed."""

    code = models.SlugField(max_length=32, unique=True)
    name = models.CharField(max_length=64)
    position = models.PositiveSmallIntegerField(default=0)
    is_active = models.BooleanField(default=True)

    class Meta:
        """In the order operators chose."""

        ordering: ClassVar = ["position", "code"]

    @override
    def __str__(self) -> str:
        return self.name
