"""Started as root: who runs PostgreSQL, which refuses root, and where that user can reach its data."""

import hashlib
import logging
import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path

from api.embedded_postgres.errors import EmbeddedPostgresError

ROOT_STATE = Path("/var/lib/robot-jobs")
"""What root keeps outside of the home: homes that had to move, and copies of programs."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Account:
    """An ordinary user for whom root starts programs."""

    uid: int
    gid: int
    name: str

    def may_enter(self, folder: Path) -> bool:
        return self._succeeds("test", "-x", str(folder))

    def may_run(self, program: Path) -> bool:
        return self._succeeds(str(program), "--version")

    def _succeeds(self, *command: str) -> bool:
        try:
            ended = subprocess.run(  # noqa: S603 - fixed programs, no shell
                command,
                check=False,
                cwd="/",
                capture_output=True,
                stdin=subprocess.DEVNULL,
                user=self.uid,
                group=self.gid,
                extra_groups=[],
            )
        except PermissionError:
            return False
        return ended.returncode == 0


def choose_account_and_home(wished: Path) -> tuple[Account, Path]:
    """Who runs the server, and on which folder: the wished one, if that user can reach it.

    The user is the owner of the folder, or of the nearest one above that is not root's; failing that, nobody.
    """
    account, above = _owner_or_nobody(wished), _nearest_existing(wished.parent)
    if account.may_enter(above) or not above.is_dir():  # a file in the way is an error of its own
        return account, wished

    home = ROOT_STATE / short_name(wished)
    account = _owner_or_nobody(home)
    if not account.may_enter(_nearest_existing(home.parent)):
        raise EmbeddedPostgresError(
            f"The user {account.name}, who runs PostgreSQL for root, can reach neither {wished} nor {home}:"
            " start as an ordinary user, or choose a folder that others may enter."
        )
    _log.warning(
        "The user %s, who runs PostgreSQL for root, cannot reach %s: its data is kept in %s.",
        account.name,
        wished,
        home,
    )
    return account, home


def make_folders(folder: Path) -> None:
    """Make the folder and those missing above it, open to enter whatever the umask; existing ones stay.

    Made by root, a folder belongs to the owner of the one it is made in.
    """
    if folder.exists():
        return
    make_folders(folder.parent)
    try:
        folder.mkdir()
    except FileExistsError:  # another process was faster, and sets it up just the same
        return
    folder.chmod(0o755)
    if os.geteuid() == 0:
        above = folder.parent.stat()
        os.chown(folder, above.st_uid, above.st_gid, follow_symlinks=False)


def short_name(path: Path) -> str:
    """A name of fixed length for a path."""
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:16]


def _owner_or_nobody(folder: Path) -> Account:
    for candidate in (folder, *folder.parents):
        if candidate.exists() and (uid := candidate.stat().st_uid) != 0:
            try:
                return _account(pwd.getpwuid(uid))
            except KeyError:  # initdb refuses to run for a user without a name
                break
    try:
        return _account(pwd.getpwnam("nobody"))
    except KeyError:
        raise EmbeddedPostgresError(
            f"PostgreSQL refuses to run as root, {folder} has no other owner, and no user is called nobody:"
            " start as an ordinary user, or give the folder to one."
        ) from None


def _account(entry: pwd.struct_passwd) -> Account:
    return Account(uid=entry.pw_uid, gid=entry.pw_gid, name=entry.pw_name)


def _nearest_existing(folder: Path) -> Path:
    return next(candidate for candidate in (folder, *folder.parents) if candidate.exists())
