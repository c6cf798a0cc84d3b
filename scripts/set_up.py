"""Makes or updates the virtual environment in .venv from a lock file: `set_up.py base`, `browser` or `dev`.

Only Python's standard library; safe when two run at once; a set-up that was cut short is finished by the next.
"""

import fcntl
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
LEAST = (3, 11)
HOLDS = {"browser": ("base",), "dev": ("base", "browser")}  # what a lock file has all of


def main(name: str) -> int:
    if sys.version_info < LEAST:
        return _fail(f"Python {'.'.join(map(str, LEAST))} or later is needed; this is {sys.version.split()[0]}")
    lock = ROOT / "requirements" / f"{name}.txt"
    VENV.mkdir(exist_ok=True)
    with (VENV / ".set-up.lock").open("w") as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)
        stamp = VENV / f".{name}"
        wanted = lock.read_text() + (ROOT / "pyproject.toml").read_text() + sys.version
        if stamp.exists() and stamp.read_text() == wanted:
            stamp.touch()
            return 0
        print(f"Setting up .venv from {lock.relative_to(ROOT)} (this takes a minute, once) ...", flush=True)
        try:
            _install(lock)
        except (subprocess.CalledProcessError, OSError) as error:
            return _fail(f"the set-up failed: {error}")
        stamp.write_text(wanted)
        for part in HOLDS.get(name, ()):
            its_lock = (ROOT / "requirements" / f"{part}.txt").read_text()
            (VENV / f".{part}").write_text(its_lock + (ROOT / "pyproject.toml").read_text() + sys.version)
    return 0


def _install(lock: Path) -> None:
    python = VENV / "bin" / "python"
    try:
        if not _has_pip(python):
            venv.create(VENV, with_pip=True, symlinks=True)
    except subprocess.CalledProcessError as error:
        raise OSError(
            "Python cannot make virtual environments with pip; on Debian and Ubuntu install the package python3-venv"
        ) from error
    pip = [python, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-warn-script-location"]
    subprocess.run([*pip, "--require-hashes", "--no-deps", "-r", lock], check=True, cwd=ROOT)
    # The project itself: its command, without building anything.
    purelib = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    (Path(purelib) / "robot_jobs.pth").write_text(f"{ROOT}\n")
    # Compiled now, for the next start is to be quick, also where Python is told to write no bytecode by itself.
    packages = [ROOT / name for name in ("api", "schema", "domain", "migrations", "clients")]
    subprocess.run([python, "-m", "compileall", "-q", *packages], check=True, cwd=ROOT)
    command = VENV / "bin" / "robot-jobs"
    command.write_text('#!/bin/sh\nexec "$(dirname "$0")/python" -m api "$@"\n')
    command.chmod(0o755)


def _has_pip(python: Path) -> bool:
    try:
        return subprocess.run([python, "-m", "pip", "--version"], capture_output=True, check=False).returncode == 0
    except OSError:  # there is no such program, or it is for another machine
        return False


def _fail(message: str) -> int:
    print(f"robot-jobs: {message}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
