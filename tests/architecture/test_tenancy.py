"""The border between the public schema and the organizations' own."""

from django.apps import apps
from django.conf import settings


def labels(names: list[str]) -> set[str]:
    return {apps.get_app_config(_label(name)).name for name in names}


def _label(name: str) -> str:
    for config in apps.get_app_configs():
        if name in (config.name, f"{type(config).__module__}.{type(config).__qualname__}"):
            return config.label
    raise AssertionError(f"{name} is not installed")


def test_every_app_is_shared_or_tenant_and_never_both():
    shared, tenant = labels(settings.SHARED_APPS), labels(settings.TENANT_APPS)
    assert shared & tenant == set()
    assert shared | tenant == {config.name for config in apps.get_app_configs()}


def test_no_public_table_refers_to_an_organizations_table():
    tenant = labels(settings.TENANT_APPS)
    for model in apps.get_models(include_auto_created=True):
        if model._meta.app_config.name in tenant:
            continue
        for field in model._meta.get_fields():
            target = field.related_model if field.concrete and field.is_relation else None
            if target is not None and target != "self":
                assert target._meta.app_config.name not in tenant, f"{model.__name__}.{field.name}"


def test_every_portal_app_is_installed():
    installed = {config.name for config in apps.get_app_configs()}
    for path in (settings.BASE_DIR / "portal").glob("*/apps.py"):
        assert f"portal.{path.parent.name}" in installed
