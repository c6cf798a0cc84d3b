"""Secrets that are made where none is set, and kept in the home folder."""

import os
import uuid
from collections.abc import Callable
from pathlib import Path

from api.settings import SettingsError


def kept_secret(path: Path, make: Callable[[], str]) -> str:
    """Made once, readable by its owner only; two processes at once keep the same one.  Raises SettingsError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            _keep(path, make())
        return path.read_text().strip()
    except (OSError, UnicodeError) as error:
        raise SettingsError(f"ROBOT_JOBS_HOME: cannot keep a secret in {path.parent}: {error}") from error


def _keep(path: Path, secret: str) -> None:
    fresh = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secret)
        file.flush()
        os.fsync(file.fileno())  # what is linked must be whole after a power cut, too
    try:
        os.link(fresh, path)  # whole or not at all, and never over one that is there
    except FileExistsError:
        pass
    finally:
        fresh.unlink()
