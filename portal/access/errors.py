"""What can go wrong with grants and teams."""

from portal.core.errors import Conflict, Forbidden


class GrantBeyondOwn(Forbidden):
    """Nobody gives what they do not hold themselves."""

    code = "grant_beyond_own"
    title = "More than you hold yourself"


class TooManyGrants(Conflict):
    """A limit of teams, members, grants or labels is reached."""

    code = "grant_limit"
    title = "Too many of these"


class RoleInUse(Conflict):
    """A role that is granted to somebody stays."""

    code = "role_in_use"
    title = "The role is granted to somebody"


class TooManyRoles(Conflict):
    """The organization has as many custom roles as allowed."""

    code = "role_limit"
    title = "Too many roles"


class ElevationOwn(Forbidden):
    """Nobody approves what they asked for themselves."""

    code = "elevation_own"
    title = "Somebody else must approve this"


class ElevationOver(Conflict):
    """The request was decided, withdrawn, or is too old."""

    code = "elevation_over"
    title = "This request is over"


class TooManyElevations(Conflict):
    """The same request waits already, or too many do."""

    code = "elevation_limit"
    title = "Too many requests wait"


class UnableToExplain(Conflict):
    """There is nothing to explain about somebody who does not belong here."""

    code = "not_a_member"
    title = "Not a member"


class AlreadyGranted(Conflict):
    """The person or the team has this role in this scope."""

    code = "already_granted"
    title = "This is granted already"
