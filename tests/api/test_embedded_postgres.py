"""The embedded PostgreSQL, with real processes that are really killed.

Root and ordinary users take different ways: some tests are for root alone, some for ordinary users alone.
"""

import asyncio
import contextlib
import fcntl
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import asyncpg  # type: ignore[import-untyped, unused-ignore]
import psutil  # type: ignore[import-untyped, unused-ignore]
import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from api.embedded_postgres import (
    EmbeddedPostgres,
    EmbeddedPostgresError,
    accounts,
    ensure_roles_and_database,
    start_embedded_postgres,
)
from api.embedded_postgres.programs import Programs, find_programs, programs_readable_by
from tests.api.postgres_user import use
from tests.processes import forking, start_lock

ROOT = os.geteuid() == 0
only_root = pytest.mark.skipif(not ROOT, reason="for root alone: an ordinary user cannot change users")
only_ordinary_user = pytest.mark.skipif(ROOT, reason="for ordinary users alone: modes do not bind root")

FAST = {"fsync": "off", "autovacuum": "off"}


@dataclass(frozen=True, slots=True)
class User:
    """A process that uses the server."""

    process: ForkServerProcess
    answers: Connection

    def joined(self) -> EmbeddedPostgres:
        """Wait until its server is ready."""
        answer = self.answers.recv()
        assert isinstance(answer, EmbeddedPostgres), answer
        return answer

    def joined_again(self) -> EmbeddedPostgres:
        self.answers.send("once more")
        return self.joined()

    def refused(self) -> str:
        answer = self.answers.recv()
        assert isinstance(answer, str), answer
        return answer

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    def ends(self, number: signal.Signals = signal.SIGKILL) -> None:
        if self.process.is_alive():
            os.kill(self.pid, number)
            self.wait()

    def wait(self) -> None:
        self.process.join(10)
        assert not self.process.is_alive()


class Users:
    """Starts processes that use the server, and ends them after the test."""

    def __init__(self) -> None:
        self.homes: set[Path] = set()
        self._all: list[User] = []

    def start(
        self,
        home: Path,
        *,
        settings: dict[str, str] | None = None,
        umask: int | None = None,
        limit_file_size: int | None = None,
    ) -> User:
        self.homes.add(home)
        here, there = forking.Pipe()
        process = forking.Process(target=use, args=(there, home, FAST | (settings or {}), umask, limit_file_size))
        with start_lock:
            process.start()
        there.close()
        user = User(process, here)
        self._all.append(user)
        return user

    def end(self) -> None:
        for user in self._all:
            user.ends()
            user.answers.close()


@pytest.fixture
def users() -> Iterator[Users]:
    users = Users()
    yield users
    users.end()


def make_folder() -> Path:
    """A folder that the server's user can reach too: pytest's own are closed to all but who runs it."""
    folder = Path(tempfile.mkdtemp(prefix="robot-jobs-tests-", dir="/tmp")).resolve()
    folder.chmod(0o755)
    return folder


def remove_folder(folder: Path, users: Users) -> None:
    users.end()
    for home in filter(Path.exists, users.homes):
        wait_until_stopped(home)
    for process in processes_in(folder):  # after a test that failed
        process.kill()
    shutil.rmtree(folder)


@pytest.fixture
def folder(users: Users) -> Iterator[Path]:
    folder = make_folder()
    yield folder
    remove_folder(folder, users)


@pytest.fixture(scope="session")
def template() -> Iterator[Path]:
    """A home as a server leaves it, made once, for the tests for which a first start is not the point."""
    folder, users = make_folder(), Users()
    server = users.start(folder / "home").joined()
    users.end()
    wait_until_stopped(server.home)
    yield server.home
    remove_folder(folder, users)


@pytest.fixture
def home(folder: Path, template: Path, users: Users, request: pytest.FixtureRequest) -> Iterator[Path]:
    """The template, moved to a folder of the test's own and back: a copy costs more than a first start."""
    home = folder / getattr(request, "param", "home")
    template.rename(home)
    yield home
    users.end()
    wait_until_stopped(home)
    home.rename(template)


def wait_until(condition: Callable[[], bool], *, within_s: float = 10, what: str) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {within_s} s: {what}"
        time.sleep(0.005)


def wait_until_stopped(home: Path, *, within_s: float = 10) -> None:
    """Wait for the end of the keeper, which outlives its server."""
    wait_until(lambda: not is_kept(home), within_s=within_s, what=f"the server in {home} ends")


def is_kept(home: Path) -> bool:
    with (home / "keeper.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def processes_in(folder: Path, program: str = "") -> list[psutil.Process]:
    """The keepers and PostgreSQL's programs that work in a folder."""
    found = []
    for process in psutil.process_iter():
        try:
            line = " ".join(process.cmdline())
        except psutil.Error:
            continue
        is_at_work = "keeper.py" in line or "/pginstall/bin/" in line
        if is_at_work and str(folder) in line and program in line and process.status() != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


def postmaster_pid(server: EmbeddedPostgres) -> int:
    return int((server.home / "data/postmaster.pid").read_text().split("\n")[0])


def query(server: EmbeddedPostgres, sql: str) -> Any:
    async def fetch() -> Any:
        connection = await asyncpg.connect(host=str(server.socket_dir), port=5432, user="postgres", database="postgres")
        try:
            return await connection.fetchval(sql)
        finally:
            await connection.close()

    return asyncio.run(fetch())


def test_first_start_makes_a_server_that_answers_whatever_the_umask(users: Users, folder: Path) -> None:
    server = users.start(folder / "a new" / "folder", umask=0o077).joined()

    assert server == EmbeddedPostgres(folder / "a new" / "folder", folder / "a new" / "folder")
    assert query(server, "SELECT 1") == 1


def test_server_speaks_utf8_and_utc(users: Users, home: Path) -> None:
    server = users.start(home).joined()

    assert query(server, "SELECT current_setting('timezone') || ' ' || getdatabaseencoding()") == "UTC UTF8"
    assert query(server, "SELECT datcollate || ' ' || datlocale FROM pg_database LIMIT 1") == "C C.UTF-8"


def test_server_is_reached_by_a_socket_in_a_closed_folder_only(users: Users, home: Path) -> None:
    server = users.start(home).joined()

    assert query(server, "SHOW listen_addresses") == ""
    assert not psutil.Process(postmaster_pid(server)).net_connections("inet")
    assert server.socket_dir.stat().st_mode & 0o777 == 0o700
    assert (server.socket_dir / ".s.PGSQL.5432").stat().st_mode & 0o777 == 0o700
    assert query(server, "SELECT bool_and(auth_method = 'reject') FROM pg_hba_file_rules WHERE type = 'host'")


def test_process_that_starts_it_twice_has_one_server(users: Users, home: Path) -> None:
    user = users.start(home)
    pid = postmaster_pid(user.joined())

    assert postmaster_pid(user.joined_again()) == pid
    assert len(processes_in(home, "keeper.py")) == 1


def test_six_processes_at_once_share_one_cold_server(users: Users, folder: Path) -> None:
    six = [users.start(folder / "home") for _ in range(6)]

    assert len({postmaster_pid(user.joined()) for user in six}) == 1
    assert len(processes_in(folder, "keeper.py")) == 1


def test_server_stays_while_others_use_it_and_goes_with_the_last(users: Users, home: Path) -> None:
    first, second = users.start(home), users.start(home)
    server = first.joined()
    second.joined()

    first.ends()
    late = users.start(home)
    late.joined()
    second.ends()

    assert query(server, "SELECT 1") == 1

    late.ends()

    wait_until_stopped(server.home)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_server_goes_within_a_second_when_its_process_is_ended(
    users: Users, home: Path, number: signal.Signals
) -> None:
    user = users.start(home)
    server = user.joined()

    user.ends(number)

    wait_until_stopped(server.home, within_s=2)  # a second, and room for a busy machine
    assert not (home / "data/postmaster.pid").exists()
    assert not processes_in(home)


def test_ctrl_c_in_the_terminal_is_not_for_the_server(users: Users, home: Path) -> None:
    staying, leaving = users.start(home), users.start(home)
    pid = postmaster_pid(staying.joined())
    leaving.joined()

    os.killpg(leaving.pid, signal.SIGINT)
    leaving.wait()

    assert postmaster_pid(staying.joined_again()) == pid
    assert {os.getpgid(process.pid) for process in processes_in(home)}.isdisjoint({staying.pid, leaving.pid})


def test_signals_to_all_leave_the_server_to_its_keeper(users: Users, home: Path) -> None:
    """As a service manager does it: everybody gets SIGTERM, and the keeper goes last."""
    user = users.start(home)
    server = user.joined()

    for keeper in processes_in(home, "keeper.py"):
        keeper.send_signal(signal.SIGTERM)

    assert query(user.joined_again(), "SELECT 1") == 1

    user.ends(signal.SIGTERM)

    wait_until_stopped(server.home)


def test_data_is_kept_when_process_and_server_are_killed(users: Users, home: Path) -> None:
    user = users.start(home)
    server = user.joined()
    query(server, "CREATE TABLE IF NOT EXISTS kept AS SELECT 42 AS answer")

    os.kill(postmaster_pid(server), signal.SIGKILL)
    user.ends()
    server = users.start(home).joined()

    assert query(server, "SELECT answer FROM kept") == 42


def test_busy_connection_of_a_killed_server_does_not_hinder_the_next(users: Users, home: Path) -> None:
    user = users.start(home)
    server = user.joined()

    def be_busy() -> None:
        with contextlib.suppress(asyncpg.PostgresError, ConnectionError):
            query(server, "DO $$ BEGIN WHILE clock_timestamp() < now() + '20 s' LOOP END LOOP; END $$")

    with ThreadPoolExecutor(1) as thread:
        thread.submit(be_busy)
        is_busy = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'DO %')"
        wait_until(lambda: bool(query(server, is_busy)), what="a connection is busy")
        os.kill(postmaster_pid(server), signal.SIGKILL)
        user.ends()

        assert query(users.start(home).joined(), "SELECT 1") == 1


def test_killed_server_is_started_again_by_the_next_call(users: Users, home: Path) -> None:
    user = users.start(home)
    server = user.joined()

    os.kill(postmaster_pid(server), signal.SIGKILL)
    wait_until_stopped(home)  # the keeper follows its server

    assert query(user.joined_again(), "SELECT 1") == 1


def test_server_whose_keeper_was_killed_is_taken_over(users: Users, home: Path) -> None:
    first = users.start(home)
    orphan = postmaster_pid(first.joined())
    for keeper in processes_in(home, "keeper.py"):
        keeper.kill()
    first.ends()
    assert psutil.pid_exists(orphan)

    second = users.start(home)
    server = second.joined()

    assert postmaster_pid(server) != orphan
    second.ends()
    wait_until_stopped(server.home)


def test_process_that_starts_while_the_server_is_stopped_gets_a_new_one(users: Users, home: Path) -> None:
    user = users.start(home)
    user.joined()

    user.ends()
    next_user = users.start(home)

    assert query(next_user.joined(), "SELECT 1") == 1


def test_first_start_that_was_cut_short_begins_anew(users: Users, folder: Path) -> None:
    home = folder / "home"
    user = users.start(home)
    wait_until(lambda: any(home.glob("data.*/base")), what="initdb is at work")
    user.ends()
    for process in processes_in(folder):
        process.kill()
    wait_until_stopped(home)
    assert not (home / "data").exists()

    server = users.start(home).joined()

    assert query(server, "SELECT 1") == 1
    assert not list(home.glob("data.*"))


def test_first_start_goes_to_its_end_and_stops_when_its_process_is_killed(users: Users, folder: Path) -> None:
    home = folder / "home"
    user = users.start(home)
    wait_until(lambda: any(home.glob("data.*")), what="initdb is at work")

    user.ends()

    wait_until_stopped(home)
    assert (home / "data/PG_VERSION").exists()
    assert not processes_in(home)


@pytest.mark.parametrize("lock_file", ["recycled", "zombie", "half-written", "empty"])
def test_lock_files_of_a_dead_server_do_not_hinder(users: Users, home: Path, lock_file: str) -> None:
    zombie = subprocess.Popen(["true"])
    wait_until(lambda: psutil.Process(zombie.pid).status() == psutil.STATUS_ZOMBIE, what="a zombie")
    start_of_a_lock_file = f"{zombie.pid if lock_file == 'zombie' else os.getpid()}\n{home}/data\n1700000000\n"
    content = {"half-written": "12", "empty": ""}.get(lock_file, start_of_a_lock_file)
    for path in (home / "data/postmaster.pid", home / ".s.PGSQL.5432.lock"):
        path.write_text(content)
        shutil.copystat(home, path)
        os.chown(path, home.stat().st_uid, -1)

    server = users.start(home).joined()

    assert query(server, "SELECT 1") == 1
    assert zombie.wait() == 0


@pytest.mark.parametrize(
    "home", ["blanks  and 'quotes' and \"more\"", "comma, colon: and 100%", "ñ€", "x" * 120], indirect=True
)
def test_path_may_be_long_or_odd(users: Users, home: Path) -> None:
    user = users.start(home)
    server = user.joined()

    url = make_url(server.url("postgres", "postgres"))
    assert url.query["host"] == str(server.socket_dir)

    async def ask() -> object:
        engine = create_async_engine(url)
        try:
            async with engine.connect() as connection:
                return await connection.scalar(text("SELECT 1"))
        finally:
            await engine.dispose()

    assert asyncio.run(ask()) == 1

    user.ends()

    wait_until_stopped(server.home)
    assert server.socket_dir == home or not server.socket_dir.exists()


def test_url_gives_back_role_and_database_with_odd_signs() -> None:
    server = EmbeddedPostgres(Path("/a"), Path("/a b/100%/ñ&c=d?"))

    url = make_url(server.url("ro:le@x", "data/base?x"))

    assert (url.drivername, url.username, url.database) == ("postgresql+asyncpg", "ro:le@x", "data/base?x")
    assert url.query["host"] == "/a b/100%/ñ&c=d?"


def test_settings_hold_for_the_server_they_start(users: Users, home: Path) -> None:
    server = users.start(home, settings={"work_mem": "7MB", "application_name": 'it\'s "it"'}).joined()

    assert query(server, "SHOW work_mem") == "7MB"
    assert query(server, "SHOW max_connections") == "200"


def test_wrong_setting_is_refused_with_postgresqls_own_words(users: Users, home: Path) -> None:
    user = users.start(home, settings={"max_connections": "many"})

    assert 'invalid value for parameter "max_connections": "many"' in user.refused()
    wait_until_stopped(home)
    assert not processes_in(home)
    assert query(users.start(home).joined(), "SHOW max_connections") == "200"


@pytest.mark.parametrize("name", ["listen_addresses", "Listen-Addresses", "unix_socket_directories", "hba_file"])
def test_setting_that_would_open_the_server_to_others_is_refused(folder: Path, name: str) -> None:
    with pytest.raises(EmbeddedPostgresError, match="cannot be changed"):
        start_embedded_postgres(folder / "home", settings={name: "*"})

    assert not (folder / "home").exists()


def test_data_of_another_major_version_is_refused(users: Users, folder: Path) -> None:
    home = folder / "home"
    (home / "data").mkdir(parents=True)
    (home / "data/PG_VERSION").write_text("17\n")
    (home / "users.lock").touch()

    user = users.start(home)

    assert f"made by PostgreSQL 17; the installed programs are PostgreSQL {find_programs().major}" in user.refused()


def test_folder_that_holds_other_things_is_refused_and_left_as_it_is(folder: Path) -> None:
    (folder / "letters").mkdir()

    with pytest.raises(EmbeddedPostgresError, match=r"letters.*choose a new or an empty folder"):
        start_embedded_postgres(folder)

    assert [path.name for path in folder.iterdir()] == ["letters"]
    assert folder.stat().st_mode & 0o777 == 0o755


def test_folder_that_cannot_be_made_is_one_clear_error(folder: Path) -> None:
    (folder / "file").touch()

    with pytest.raises(EmbeddedPostgresError, match=f"cannot use the folder {folder}/file/home: Not a directory"):
        start_embedded_postgres(folder / "file" / "home")


@only_ordinary_user
def test_read_only_folder_is_one_clear_error(folder: Path) -> None:
    (folder / "closed").mkdir(mode=0o500)

    with pytest.raises(EmbeddedPostgresError, match=r"closed/home: Permission denied"):
        start_embedded_postgres(folder / "closed" / "home")


def test_disk_that_takes_no_more_is_one_clear_error(users: Users, folder: Path) -> None:
    """A limit on the size of files stands for the full disk."""
    user = users.start(folder / "home", limit_file_size=100_000)

    assert "initdb ended with exit code 1" in user.refused()
    wait_until_stopped(folder / "home")
    assert not processes_in(folder)
    assert not (folder / "home/data").exists()


def test_log_that_has_grown_long_begins_anew(users: Users, home: Path) -> None:
    with (home / "log").open("r+b") as log:
        log.truncate(10_000_001)

    users.start(home).joined()

    assert (home / "log").stat().st_size < 10_000


def test_log_that_is_a_link_to_elsewhere_is_refused(users: Users, folder: Path) -> None:
    (folder / "home").mkdir()
    (folder / "home/users.lock").touch()
    (folder / "home/log").symlink_to(folder / "victim")

    user = users.start(folder / "home")

    assert f"cannot use the folder {folder}/home" in user.refused()
    assert not (folder / "victim").exists()


@only_root
def test_root_has_nobody_run_the_server(users: Users, home: Path) -> None:
    server = users.start(home).joined()

    assert psutil.Process(postmaster_pid(server)).username() == "nobody"
    assert psutil.Process(postmaster_pid(server)).uids().saved != 0


@only_root
def test_root_has_the_owner_of_the_folder_above_run_the_server(users: Users, folder: Path) -> None:
    owner = pwd.getpwnam("daemon")
    (folder / "project").mkdir(mode=0o700)
    os.chown(folder / "project", owner.pw_uid, owner.pw_gid)

    server = users.start(folder / "project" / "state" / "home").joined()

    assert psutil.Process(postmaster_pid(server)).username() == "daemon"
    assert {path.stat().st_uid for path in (folder / "project").rglob("*")} == {owner.pw_uid}


@only_root
def test_root_keeps_the_data_elsewhere_when_its_user_cannot_reach_the_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(accounts, "ROOT_STATE", folder / "state")
    closed = folder / "closed"
    closed.mkdir(mode=0o700)

    account, home = accounts.choose_account_and_home(closed / "home")

    assert (account.name, home.parent) == ("nobody", folder / "state")
    assert f"cannot reach {closed}/home: its data is kept in {home}" in caplog.text
    assert accounts.choose_account_and_home(closed / "home") == (account, home)
    assert accounts.choose_account_and_home(closed / "other home") != (account, home)
    assert not list(closed.iterdir())


@only_root
def test_root_gives_nobody_no_folder_but_the_home(users: Users, folder: Path) -> None:
    """Other things may be kept beside the home, and whoever owns the folder could replace them."""
    users.start(folder / "state" / "home", limit_file_size=100_000).refused()

    assert (folder / "state").owner() == "root"
    assert (folder / "state/home").owner() == "nobody"


@only_root
def test_root_says_so_when_its_user_can_reach_no_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts, "ROOT_STATE", folder / "closed" / "state")
    (folder / "closed").mkdir(mode=0o700)

    with pytest.raises(EmbeddedPostgresError, match=r"nobody.* can reach neither"):
        start_embedded_postgres(folder / "closed" / "home")

    assert not list((folder / "closed").iterdir())


@only_root
def test_root_copies_programs_that_its_user_cannot_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts, "ROOT_STATE", folder / "state")
    account, home = accounts.choose_account_and_home(folder / "home")
    installed = find_programs()
    closed = Programs(folder / "closed" / installed.package.name)
    (folder / "closed").mkdir(mode=0o700)
    closed.package.symlink_to(installed.package)
    closed.libraries.symlink_to(installed.libraries)

    copy = programs_readable_by(account, closed, home)

    assert copy.package.is_relative_to(folder / "state")
    assert account.may_run(copy.bin / "initdb")
    assert account.may_run(copy.bin / "postgres")


@only_root
def test_root_removes_copies_of_older_programs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts, "ROOT_STATE", folder / "state")
    account, home = accounts.choose_account_and_home(folder / "home")
    programs = Programs(folder / "closed" / "programs")
    programs.bin.mkdir(parents=True)
    shutil.copy("/bin/true", programs.bin / "postgres")
    (folder / "closed").chmod(0o700)
    older = programs_readable_by(account, programs, home)
    assert programs_readable_by(account, programs, home) == older

    os.utime(programs.package, ns=(1, 1))  # as after an upgrade
    newer = programs_readable_by(account, programs, home)

    assert newer != older
    assert (newer.bin / "postgres").exists()
    assert not older.package.exists()


@only_root
def test_root_uses_programs_that_its_user_can_read(folder: Path) -> None:
    account, home = accounts.choose_account_and_home(folder / "home")
    programs = Programs(folder / "programs")
    programs.bin.mkdir(parents=True)
    shutil.copy("/bin/true", programs.bin / "postgres")

    assert programs_readable_by(account, programs, home) == programs


ROLES = """
    SELECT array_agg((rolname::text, rolcanlogin, rolsuper, rolbypassrls)::text ORDER BY rolname)
    FROM pg_roles WHERE rolname LIKE 'robot%'
"""
AS_THEY_SHOULD_BE = ["(robot_jobs_app,t,f,f)", "(robot_jobs_owner,t,f,f)", "(robot_jobs_system,f,f,f)"]
MEMBERS = """
    SELECT array_agg(format('%s %s %s %s', member::regrole, roleid::regrole, inherit_option::text, set_option::text))
    FROM pg_auth_members WHERE roleid >= 16384
"""
OWNERS = "SELECT array_agg(datname || ' ' || pg_get_userbyid(datdba)) FROM pg_database WHERE datname ~ 'jobs'"


@pytest.fixture
def server_without_roles(users: Users, home: Path) -> EmbeddedPostgres:
    server = users.start(home, settings={"log_statement": "all", "log_connections": "receipt"}).joined()
    query(server, "DROP DATABASE IF EXISTS robot_jobs")
    query(server, "DROP ROLE IF EXISTS robot_jobs_owner")
    query(server, "DROP ROLE IF EXISTS robot_jobs_app")
    query(server, "DROP ROLE IF EXISTS robot_jobs_system")
    return server


def test_roles_and_database_are_created_once_by_many_at_once(server_without_roles: EmbeddedPostgres) -> None:
    def ensure(_: int) -> None:
        asyncio.run(ensure_roles_and_database(server_without_roles, "robot_jobs"))

    with ThreadPoolExecutor(5) as threads:
        list(threads.map(ensure, range(5)))

    assert query(server_without_roles, ROLES) == AS_THEY_SHOULD_BE
    assert query(server_without_roles, MEMBERS) == ["robot_jobs_app robot_jobs_system false true"]
    assert query(server_without_roles, OWNERS) == ["robot_jobs robot_jobs_owner"]


def test_database_may_have_an_odd_name(server_without_roles: EmbeddedPostgres) -> None:
    asyncio.run(ensure_roles_and_database(server_without_roles, 'odd "jobs" %I \';'))

    assert query(server_without_roles, OWNERS) == ['odd "jobs" %I \'; robot_jobs_owner']

    query(server_without_roles, 'DROP DATABASE "odd ""jobs"" %I \';"')


def test_roles_and_database_that_differ_are_put_right(server_without_roles: EmbeddedPostgres) -> None:
    query(server_without_roles, "CREATE ROLE robot_jobs_app NOLOGIN SUPERUSER BYPASSRLS")
    query(server_without_roles, "CREATE ROLE robot_jobs_system LOGIN BYPASSRLS")
    query(server_without_roles, "GRANT robot_jobs_system TO robot_jobs_app")
    query(server_without_roles, "CREATE DATABASE robot_jobs")

    asyncio.run(ensure_roles_and_database(server_without_roles, "robot_jobs"))

    assert query(server_without_roles, ROLES) == AS_THEY_SHOULD_BE
    assert query(server_without_roles, MEMBERS) == ["robot_jobs_app robot_jobs_system false true"]
    assert query(server_without_roles, OWNERS) == ["robot_jobs robot_jobs_owner"]


def test_roles_and_database_that_are_there_cost_one_query(server_without_roles: EmbeddedPostgres) -> None:
    asyncio.run(ensure_roles_and_database(server_without_roles, "robot_jobs"))
    log = server_without_roles.home / "log"
    before = log.stat().st_size

    asyncio.run(ensure_roles_and_database(server_without_roles, "robot_jobs"))

    added = log.read_bytes()[before:].decode()
    assert added.count("connection received") == 1
    assert added.count("LOG:  statement") + added.count("LOG:  execute") == 1
