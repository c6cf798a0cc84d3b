"""What a sandbox portal can be told before it starts."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class PortalSettings:
    file: Path | None = None
    """Where parcels, accounts and faults are kept, whatever becomes of the process; None keeps them in memory."""
    passwords: Mapping[str, str | None] = field(default_factory=dict)
    """Accounts with a password of their own; with None every password is wrong."""
    default_password: str = "sandbox"  # noqa: S105 -- no secret: it opens a make-believe portal
    """Opens every account that is not named in `passwords`."""
    dialog_delay_s: tuple[float, float] = (0.3, 0.9)
    """Between the submit button and the dialog, at least and at most; a real portal takes 7 to 17."""
    suggestions_delay_s: float = 0.15
    slow_s: float = 30.0
    """How long a fault that delays or hangs takes if it does not say so itself."""
    guide_after_s: float = 30.0
    """How long a parcel waits for its guía."""
    lock_after: int = 3
    """Wrong logins in a row that lock an account."""
    page_size: int = 10
    """Rows on a page of the list."""


def read_passwords(file: Path) -> dict[str, str | None]:
    """Passwords by account, from JSON.  Raises ValueError with one line for people."""
    try:
        passwords = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise ValueError(f"{file} cannot be read as JSON: {error}") from error
    if not isinstance(passwords, dict) or not all(isinstance(each, str | None) for each in passwords.values()):
        raise ValueError(f'{file} must hold passwords by account, such as {{"shop": "secret", "locked-out": null}}.')
    return passwords


def read_range_s(text: str) -> tuple[float, float]:
    """`300-900` or `300`, milliseconds, as seconds.  Raises ValueError with one line for people."""
    found = re.fullmatch(r"([0-9]{1,8})(?:-([0-9]{1,8}))?", text, re.ASCII)
    at_least, at_most = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
    if at_least > at_most:
        raise ValueError(f"--delay-ms: {text!r} is no range of milliseconds such as 300-900.")
    return at_least / 1_000, at_most / 1_000
