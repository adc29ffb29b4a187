"""What can go wrong with organizations and memberships."""

from portal.core.errors import Conflict


class UnableToLeaveWithoutOwner(Conflict):
    """The last owner can neither leave nor become something else."""

    code = "last_owner"
    title = "An organization needs an owner"


class RoleChanged(Conflict):
    """A member has another role than the one that was looked at."""

    code = "role_changed"
    title = "Their role has changed"


class UnableToUseSlug(Conflict):
    """The address is taken or reserved."""

    code = "slug_taken"
    title = "This address is taken"


class TooManyOrganizations(Conflict):
    """The limit of organizations that one person may own is reached."""

    code = "organization_limit"
    title = "Too many organizations"


class UnableToCreateSchema(Exception):
    """The database refused to make the organization's schema; the log has its words."""
