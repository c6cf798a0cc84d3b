"""Evidence in files: whole or not there, nobody else's to read, and named by ids alone."""

import datetime as dt
import os
import stat
import uuid
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from api.evidence_files import EvidenceFiles
from api.settings import load_settings
from api.sweeps import Sweep, Sweeps, sweeps_of
from domain.base import first_id_at, new_id
from domain.evidence import ContentType, NewEvidence, StoreUnavailable, record_evidence
from domain.workspaces import Role
from schema.database import Database as Pool
from tests.conftest import database, engine
from tests.domain.ledger import counted_statements
from tests.tenants import Tenant

__all__ = ["database", "engine"]  # of each test's own: a sweep goes through all that there is

NEVER = uuid.UUID(int=2**128 - 1)


def id_of(ago: dt.timedelta) -> uuid.UUID:
    """An id that was made so long ago."""
    return uuid.UUID(int=first_id_at(dt.datetime.now(dt.UTC) - ago).int | (new_id().int & (2**80 - 1)))


def files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


def modes(path: Path) -> list[int]:
    """Of the file, of its folder and of that folder's folder."""
    return [stat.S_IMODE(each.stat().st_mode) for each in (path, path.parent, path.parent.parent)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "home" / "evidence"


@pytest.fixture
def files(folder: Path) -> EvidenceFiles:
    return EvidenceFiles(folder)


async def test_what_was_put_can_be_opened_and_removed(files: EvidenceFiles, folder: Path) -> None:
    first, second = new_id(), new_id()
    await files.put(first, b"a picture\x00\xff")
    await files.put(second, b"a text")

    assert (await files.open(first), await files.open(second)) == (b"a picture\x00\xff", b"a text")
    await files.remove([first, new_id()])
    await files.remove([first])

    assert (await files.open(first), await files.open(second)) == (None, b"a text")
    assert [path.name for path in files_in(folder)] == [str(second)]


async def test_nobody_else_may_read_it(files: EvidenceFiles, folder: Path) -> None:
    await files.put(new_id(), b"a picture")

    [path] = files_in(folder)
    assert modes(path) == [0o600, 0o700, 0o700]


async def test_it_is_on_the_disk_before_it_has_its_name(
    files: EvidenceFiles, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evidence_id = new_id()
    synced: list[list[str]] = []
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        fsync(descriptor)
        synced.append([path.name for path in files_in(folder)])

    monkeypatch.setattr(os, "fsync", noted)
    await files.put(evidence_id, b"a picture")

    *_, whole, named = synced
    assert (whole, named) == ([f"{evidence_id}.part"], [str(evidence_id)])


async def test_what_was_cut_off_is_not_there_but_can_be_found_and_removed(
    files: EvidenceFiles, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evidence_id = new_id()

    def broken(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", broken)
        (folder / dt.datetime.now(dt.UTC).date().isoformat()).mkdir(parents=True)
        with pytest.raises(StoreUnavailable):
            await files.put(evidence_id, b"a picture")

    assert await files.open(evidence_id) is None
    assert await files.list_ids(before=NEVER, after=None, limit=10) == [evidence_id]
    await files.remove([evidence_id])
    assert files_in(folder) == []


async def test_ids_are_listed_in_order_page_by_page(files: EvidenceFiles) -> None:
    ids = sorted(id_of(dt.timedelta(hours=9 * number)) for number in range(12))
    for evidence_id in ids:
        await files.put(evidence_id, b"x")

    found: list[uuid.UUID] = []
    while page := await files.list_ids(before=ids[-1], after=found[-1] if found else None, limit=3):
        assert len(page) <= 3
        found += page

    assert found == ids[:-1]


async def test_what_is_not_ours_is_left_alone(files: EvidenceFiles, folder: Path) -> None:
    evidence_id = new_id()
    await files.put(evidence_id, b"x")
    [ours] = files_in(folder)
    for name in ("notes.txt", str(new_id()).upper(), str(id_of(dt.timedelta(days=5))), "x.part"):
        (ours.parent / name).write_text("mine")
    (folder / "README").write_text("mine")
    (folder / "other").mkdir()

    assert await files.list_ids(before=NEVER, after=None, limit=10) == [evidence_id]


async def test_a_folder_that_is_not_there_yet_is_empty(files: EvidenceFiles) -> None:
    assert await files.list_ids(before=NEVER, after=None, limit=10) == []
    assert await files.open(new_id()) is None
    await files.remove([new_id()])


async def test_folders_of_days_that_are_over_go_with_their_last_file(files: EvidenceFiles, folder: Path) -> None:
    old, today = id_of(dt.timedelta(days=3)), new_id()
    for evidence_id in (old, today):
        await files.put(evidence_id, b"x")

    await files.remove([old, today])

    assert names_in(folder) == [dt.datetime.now(dt.UTC).date().isoformat()]


async def test_a_store_that_does_not_work_says_so(tmp_path: Path) -> None:
    (tmp_path / "evidence").write_text("no folder")
    files = EvidenceFiles(tmp_path / "evidence")

    with pytest.raises(StoreUnavailable):
        await files.put(new_id(), b"x")


# ---------------------------------------------------------------------------------------------- sweeps


@pytest.fixture
def pool(engine: AsyncEngine) -> Pool:
    return Pool(engine, available_within_s=20)


def sweep_called(name: str, files: EvidenceFiles) -> Sweep:
    [sweep] = [sweep for sweep in sweeps_of(load_settings(), files) if sweep.name == name]
    return sweep


async def kept(tenant: Tenant, files: EvidenceFiles, content: bytes, kept_for: dt.timedelta | None = None) -> uuid.UUID:
    [item] = (await tenant.job(items=1)).items
    new = NewEvidence.of(item.id, 1, ContentType.PNG, content)
    await files.put(new.id, content)
    async with tenant.work(Role.ROBOT) as connection:
        await record_evidence(connection, new, created_by="robot", kept_for=kept_for)
    return new.id


async def test_expired_evidence_goes_with_its_file(pool: Pool, tenant: Tenant, files: EvidenceFiles) -> None:
    old = await kept(tenant, files, b"old", dt.timedelta(0))
    young = await kept(tenant, files, b"young", dt.timedelta(days=30))

    assert await Sweeps(pool, []).sweep(sweep_called("expired evidence", files)) is False

    assert (await files.open(old), await files.open(young)) == (None, b"young")
    assert [row[0] for row in (await tenant.contents())["evidence"]] == [young]


async def test_a_file_stays_while_the_removal_of_its_row_is_not_committed(
    pool: Pool, tenant: Tenant, files: EvidenceFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = await kept(tenant, files, b"old", dt.timedelta(0))
    sweep = sweep_called("expired evidence", files)
    seen = []

    async def remove(_: object) -> None:
        seen.append(len((await tenant.contents())["evidence"]))

    monkeypatch.setattr(files, "remove", remove)
    await Sweeps(pool, []).sweep(sweep)

    assert seen == [0]
    assert await files.open(old) == b"old"


async def test_strays_are_removed_after_an_hour(pool: Pool, tenant: Tenant, files: EvidenceFiles) -> None:
    known = await kept(tenant, files, b"known")
    stray, young = id_of(dt.timedelta(hours=1, minutes=1)), id_of(dt.timedelta(minutes=59))
    for evidence_id in (stray, young):
        await files.put(evidence_id, b"x")

    await Sweeps(pool, []).sweep(sweep_called("stray evidence", files))

    assert [await files.open(each) for each in (stray, young, known)] == [None, b"x", b"known"]


async def test_known_evidence_that_is_old_is_no_stray(
    pool: Pool, tenant: Tenant, files: EvidenceFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = id_of(dt.timedelta(days=2))
    monkeypatch.setattr("domain.evidence.new_id", lambda: old)
    assert await kept(tenant, files, b"known") == old

    await Sweeps(pool, []).sweep(sweep_called("stray evidence", files))

    assert await files.open(old) == b"known"


async def test_strays_are_looked_for_batch_by_batch_through_all_that_there_is(
    pool: Pool, engine: AsyncEngine, tenant: Tenant, files: EvidenceFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.sweeps.EVIDENCE_AT_ONCE", 4)
    ids = sorted(id_of(dt.timedelta(hours=5 * number + 2)) for number in range(10))
    known, strays = ids[:6], ids[6:]
    for evidence_id in known:
        monkeypatch.setattr("domain.evidence.new_id", lambda known_id=evidence_id: known_id)
        await kept(tenant, files, b"known")
    for evidence_id in strays:
        await files.put(evidence_id, b"stray")
    sweep = sweep_called("stray evidence", files)
    sweeps = Sweeps(pool, [])

    with counted_statements(engine) as sent:
        went_on = [await sweeps.sweep(sweep) for _ in range(3)]

    assert went_on == [True, True, False]
    assert len(sent) == 3 * 3, "lock, enter, rows"
    assert await files.list_ids(before=NEVER, after=None, limit=10) == known
    await files.put(strays[0], b"stray")
    assert [await sweeps.sweep(sweep) for _ in range(2)] == [True, False], "from the beginning again"
    assert await files.open(strays[0]) is None


def test_evidence_is_in_the_home_folder_for_30_days_by_default(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path)

    assert settings.evidence_folder == tmp_path / "evidence"
    assert settings.evidence_retention_days == 30
    assert load_settings(evidence_dir=tmp_path / "x").evidence_folder == tmp_path / "x"
