"""Limits and times of proving who one is."""

from datetime import timedelta
from typing import Final

# What takes a confirmation of the last minutes, in the words of the page that asks for it.
SENSITIVE_ACTIONS: Final[dict[str, str]] = {
    "account.email": "change your address",
    "account.password": "change your password",
    "account.factors": "change how you sign in",
    "organization.policy": "change what the organization asks for",
    "role.grant": "grant a role",
    "role.change": "change what a role may do",
    "token.create": "make a token",
    "cluster.delete": "delete a cluster",
    "cluster.break": "break nodes",
    "cluster.key": "make an API key",
    "cluster.encryption": "change the encryption keys of a cluster",
    "cluster.compliance": "change what a cluster keeps",
    "subject.erase": "erase what is kept about a person",
}
CONFIRMED_FOR: Final = timedelta(minutes=5)
PENDING_FOR: Final = timedelta(minutes=10)

PASSWORD_LENGTH_MAX: Final = 256
CODE_LENGTH_MAX: Final = 64
NAME_LENGTH_MAX: Final = 60

TOTP_DIGITS: Final = 6
TOTP_STEP_S: Final = 30
TOTP_KEY_SIZE: Final = 20
# Clocks that are one step off are common; more would only help to guess.
TOTP_TOLERANCE: Final = 1
TOTP_COUNT_MAX: Final = 5

# 24 letters of 32 are 120 bits: too many to guess from a stolen hash, so that a fast hash will do.
RECOVERY_COUNT: Final = 10
RECOVERY_LENGTH: Final = 24
RECOVERY_LEFT_LOW: Final = 3

# Guesses of a code by who has the password already: three codes of a million are right at a time.
TRIES: Final = 10
TRIES_WINDOW_S: Final = 600
TRIES_A_DAY: Final = 50
PASSWORD_TRIES_PER_HOUR: Final = 20

PASSKEY_COUNT_MAX: Final = 10
CHALLENGE_FOR: Final = timedelta(minutes=5)
CREDENTIAL_SIZE_MAX: Final = 32 * 1024
