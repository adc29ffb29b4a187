"""What can go wrong with proving who one is."""

from portal.core.errors import Conflict, PortalError


class ReauthenticationRequired(PortalError):
    """It must be confirmed again who it is, before this."""

    code = "reauthentication_required"
    status = 403
    title = "Confirm that it is you"


class WrongPassword(PortalError):
    """The password entered again is not the user's."""

    code = "wrong_password"
    status = 403
    title = "The password is not right"


class FactorWrong(PortalError):
    """The code is not right, or was used before."""

    code = "factor_wrong"
    status = 403
    title = "This code is not right"


class FactorLocked(PortalError):
    """Too many codes were tried."""

    code = "factor_locked"
    status = 429
    title = "Too many codes were tried"


class MfaRequired(PortalError):
    """The organization asks for a second factor, which the person has and did not show."""

    code = "mfa_required"
    status = 403
    title = "A second factor is required"


class MfaEnrolmentRequired(PortalError):
    """The organization asks for a second factor, and the person has none that counts."""

    code = "mfa_enrolment_required"
    status = 403
    title = "A second factor must be set up"


class LastFactor(Conflict):
    """The second factor that must be there is the last one."""

    code = "last_factor"
    title = "This is your last second factor"


class TooManyFactors(Conflict):
    """The limit of second factors of one person is reached."""

    code = "factor_limit"
    title = "Too many second factors"
