"""Serializers that refuse what they do not know."""

from collections.abc import Mapping
from typing import Any, override

from rest_framework import serializers

UNKNOWN_FIELD = "This field is not known."


class StrictSerializer(serializers.Serializer[Any]):
    """A serializer whose unknown input fields are errors, never ignored."""

    @override
    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, Mapping):
            writable = {name for name, field in self.fields.items() if not field.read_only}
            unknown = sorted(str(name) for name in data if name not in writable)
            if unknown:
                raise serializers.ValidationError({name: [UNKNOWN_FIELD] for name in unknown})
        return super().to_internal_value(data)
