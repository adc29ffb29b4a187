"""Entering and leaving an organization's schema and role; the only door to django-tenants."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, Concatenate, Protocol, cast, runtime_checkable

from celery import Task, shared_task
from celery.exceptions import SoftTimeLimitExceeded
from django.apps import apps
from django.conf import settings
from django.db import connection, models
from django_tenants.utils import get_public_schema_name

logger = logging.getLogger(__name__)


class TenantRequired(Exception):  # noqa: N818 - reads as what is wrong
    """Work on tenant data was started without saying whose."""


@runtime_checkable
class Tenant(Protocol):
    """What the rest of the portal needs of an organization to enter it."""

    schema_name: str
    slug: str


class _Connection(Protocol):
    schema_name: str
    is_owner: bool

    def set_schema(self, schema_name: str) -> None: ...

    def set_schema_to_public(self) -> None: ...


def _tenant_connection() -> _Connection:
    return cast("_Connection", connection)


def current_schema() -> str:
    """Return the schema in force."""
    return _tenant_connection().schema_name


def is_public() -> bool:
    """Tell whether no organization's schema is in force."""
    return bool(current_schema() == get_public_schema_name())


def enter(schema_name: str) -> None:
    """Put a schema and its role in force until told otherwise; prefer `tenant_context`."""
    if schema_name == get_public_schema_name():
        _tenant_connection().set_schema_to_public()
    else:
        _tenant_connection().set_schema(schema_name)


@contextmanager
def tenant_context(schema_name: str) -> Iterator[None]:
    """Run the block in `schema_name`, under its role; what was in force before returns after."""
    before = current_schema()
    enter(schema_name)
    try:
        yield
    finally:
        enter(before)


@contextmanager
def public_context() -> Iterator[None]:
    """Run the block in the public schema, under the login role."""
    with tenant_context(get_public_schema_name()):
        yield


@contextmanager
def as_owner() -> Iterator[None]:
    """Run the block under the login role whatever the schema: only for making tables."""
    own = _tenant_connection()
    before = own.is_owner
    own.is_owner = True
    enter(own.schema_name)
    try:
        yield
    finally:
        own.is_owner = before
        enter(own.schema_name)


def tenants() -> Iterator[Tenant]:
    """Yield every organization; read in the public schema, so enter each one yourself."""
    model: type[models.Model] = apps.get_model(settings.TENANT_MODEL)
    with public_context():
        found = list(model._default_manager.order_by("pk"))  # noqa: SLF001 - Django's documented name.
    for tenant in found:
        yield cast("Tenant", tenant)


def _is_tenant(schema_name: str) -> bool:
    """Tell whether the schema is that of an organization that was not deleted."""
    model: type[models.Model] = apps.get_model(settings.TENANT_MODEL)
    with public_context():
        found = model._default_manager.filter(schema_name=schema_name, deleted_at=None)  # noqa: SLF001 - see above.
        return found.exists()


def tenants_each(work: Callable[[], object]) -> None:
    """Do something in every organization: where it fails keeps it from no other.

    Raises:
        ExceptionGroup: it failed somewhere, and is done everywhere else.
    """
    failures: list[Exception] = []
    for tenant in tenants():
        try:
            with tenant_context(tenant.schema_name):
                work()
        except SoftTimeLimitExceeded:
            raise
        except Exception as error:
            logger.exception("tenant.failed", extra={"schema": tenant.schema_name})
            failures.append(error)
    if failures:
        raise ExceptionGroup("it failed in some organizations", failures)


def tenant_task[**P, R](
    **options: Any,
) -> Callable[[Callable[P, R]], Task[Concatenate[str, P], R]]:
    """Make a Celery task that must be called with the keyword `schema` and runs in that schema.

    It is refused for what is no living organization's schema, whoever put it into the queue. The
    function itself does not receive the name: it asks `current_schema()` if it must know.
    """

    def decorate(function: Callable[P, R]) -> Task[Concatenate[str, P], R]:
        @wraps(function)
        def run(*args: Any, schema: str = "", **kwargs: Any) -> R:
            if not schema or schema == get_public_schema_name():
                raise TenantRequired(f"{function.__qualname__} was called without a schema")
            if not _is_tenant(schema):
                raise TenantRequired(f"{function.__qualname__} was called with no tenant's schema")
            with tenant_context(schema):
                return function(*args, **kwargs)

        return cast("Task[Concatenate[str, P], R]", shared_task(**options)(run))

    return decorate
