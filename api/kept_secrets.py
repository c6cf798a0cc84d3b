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
        raise _unable(path, error) from error


def find_kept_secret(path: Path) -> str | None:
    """Raises SettingsError."""
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeError) as error:
        raise _unable(path, error) from error


def replace_kept_secret(path: Path, secret: str) -> None:
    """In place of the one that is kept, if any; readable by its owner only.  Raises SettingsError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, secret).replace(path)
    except OSError as error:
        raise _unable(path, error) from error


def _keep(path: Path, secret: str) -> None:
    fresh = _write(path, secret)
    try:
        os.link(fresh, path)  # whole or not at all, and never over one that is there
    except FileExistsError:
        pass
    finally:
        fresh.unlink()


def _write(path: Path, secret: str) -> Path:
    """Beside that path, under a name of its own."""
    fresh = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secret)
        file.flush()
        os.fsync(file.fileno())  # what gets its name must be whole after a power cut, too
    return fresh


def _unable(path: Path, error: Exception) -> SettingsError:
    return SettingsError(f"ROBOT_JOBS_HOME: cannot keep a secret in {path.parent}: {error}")
