"""What a child changes about its own privileges between fork and exec."""

import ctypes
import os
import pwd
import sys
from collections.abc import Callable

PR_SET_PDEATHSIG = 1
PR_SET_SECUREBITS = 28
SECBIT_NO_SETUID_FIXUP = 4
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
CAPABILITY_VERSION_3 = 0x20080522
CAP_DAC_OVERRIDE = 1
CAP_DAC_READ_SEARCH = 2
NOBODY_ID = 65534

# Loaded before any fork: importing in the child of a threaded process may deadlock.
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Capabilities(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def nobody_group() -> int:
    """Return the group that belongs to `nobody`."""
    try:
        return pwd.getpwuid(NOBODY_ID).pw_gid
    except KeyError:
        return NOBODY_ID


def die_with_parent(number: int) -> None:
    """Have the kernel send this process a signal when its parent dies, where it can."""
    if _LIBC is not None:
        _check(_LIBC.prctl(PR_SET_PDEATHSIG, int(number), 0, 0, 0), "prctl(PR_SET_PDEATHSIG)")


def nobody_passing() -> Callable[[], None]:
    """Return what makes root's child `nobody` that still passes folders closed to strangers.

    Raises:
        OSError: The system has no capabilities, or withholds the needed one from us.
    """
    if _LIBC is None:
        raise OSError("closed folders need Linux: use a home that everybody may pass through")
    libc, group, kept = _LIBC, nobody_group(), _passing_capability()
    header = _Header(CAPABILITY_VERSION_3, 0)
    content = (_Capabilities * 2)(_Capabilities(1 << kept, 1 << kept, 1 << kept))

    def become() -> None:
        os.setgroups([])
        os.setresgid(group, group, group)
        # Capabilities outlive the change of user, and count in access(), by which initdb looks.
        bits = libc.prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0)
        _check(bits, "prctl(PR_SET_SECUREBITS)")
        os.setresuid(NOBODY_ID, NOBODY_ID, NOBODY_ID)
        _check(libc.capset(ctypes.byref(header), content), "capset")
        ambient = libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, kept, 0, 0)
        _check(ambient, "prctl(PR_CAP_AMBIENT_RAISE)")

    return become


def _passing_capability() -> int:
    """Choose the weaker of two capabilities if we have it; containers often have the other."""
    assert _LIBC is not None, "asked for on Linux"
    header, content = _Header(CAPABILITY_VERSION_3, 0), (_Capabilities * 2)()
    _check(_LIBC.capget(ctypes.byref(header), content), "capget")
    for number in (CAP_DAC_READ_SEARCH, CAP_DAC_OVERRIDE):
        if content[0].permitted & 1 << number:
            return number
    raise OSError("this root may not pass closed folders: use a home that everybody may pass")


def _check(code: int, what: str) -> None:
    if code != 0:
        raise OSError(ctypes.get_errno(), what)
