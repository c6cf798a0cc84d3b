"""Evidence in files, the store that needs nothing but a folder; one folder per day of the ids.

Names are made of ids alone.  Servers that share a database share the folder.
"""

import asyncio
import datetime as dt
import os
import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import ParamSpec, TypeVar

from domain.evidence import EvidenceStore, StoreUnavailable

P = ParamSpec("P")
T = TypeVar("T")

_PART = ".part"  # of a file that is not whole yet


class EvidenceFiles(EvidenceStore):
    """Files that only this user of the system may read, in folders that only this user may enter."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def put(self, evidence_id: uuid.UUID, content: bytes) -> None:
        await _run(self._put, evidence_id, content)

    async def open(self, evidence_id: uuid.UUID) -> bytes | None:
        return await _run(self._open, evidence_id)

    async def remove(self, evidence_ids: Collection[uuid.UUID]) -> None:
        await _run(self._remove, evidence_ids)

    async def list_ids(self, *, before: uuid.UUID, after: uuid.UUID | None, limit: int) -> list[uuid.UUID]:
        return await _run(self._list_ids, before, after, limit)

    def _put(self, evidence_id: uuid.UUID, content: bytes) -> None:
        path = self._path(evidence_id)
        part = path.with_name(f"{path.name}{_PART}")
        if not path.parent.is_dir():
            self._folder.parent.mkdir(parents=True, exist_ok=True)
            for folder in (self._folder, path.parent):
                folder.mkdir(mode=0o700, exist_ok=True)
                _make_lasting(folder.parent)
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        _make_lasting(path.parent)

    def _open(self, evidence_id: uuid.UUID) -> bytes | None:
        try:
            return self._path(evidence_id).read_bytes()
        except FileNotFoundError:
            return None

    def _remove(self, evidence_ids: Collection[uuid.UUID]) -> None:
        today = dt.datetime.now(dt.UTC).date()
        for evidence_id in evidence_ids:
            path = self._path(evidence_id)
            path.unlink(missing_ok=True)
            path.with_name(f"{path.name}{_PART}").unlink(missing_ok=True)
            if _day_of(evidence_id) < today - dt.timedelta(days=1):  # nothing new comes into it
                with suppress(OSError):  # it holds others, or is gone already
                    path.parent.rmdir()

    def _list_ids(self, before: uuid.UUID, after: uuid.UUID | None, limit: int) -> list[uuid.UUID]:
        found: list[uuid.UUID] = []
        for day in sorted(self._days(), key=lambda each: each.name):
            if after is not None and day.name < _day_of(after).isoformat():
                continue
            ids = (each for each in set(_ids_in(day)) if each < before and (after is None or each > after))
            found += sorted(ids)
            if len(found) >= limit:
                break
        return found[:limit]

    def _days(self) -> Iterator[Path]:
        try:
            yield from (each for each in self._folder.iterdir() if each.is_dir())
        except FileNotFoundError:
            return

    def _path(self, evidence_id: uuid.UUID) -> Path:
        return self._folder / _day_of(evidence_id).isoformat() / str(evidence_id)


async def _run(work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """In a thread, for disks make others wait."""
    try:
        return await asyncio.to_thread(work, *arguments, **named)
    except OSError as error:
        raise StoreUnavailable(str(error)) from error


def _day_of(evidence_id: uuid.UUID) -> dt.date:
    """By the id's own time, in UTC."""
    return dt.datetime.fromtimestamp((evidence_id.int >> 80) / 1_000, dt.UTC).date()


def _ids_in(day: Path) -> Iterator[uuid.UUID]:
    """Of the files that are ours: whatever else lies there is left alone."""
    for path in day.iterdir():
        name = path.name.removesuffix(_PART)
        with suppress(ValueError):
            evidence_id = uuid.UUID(name)
            if str(evidence_id) == name and _day_of(evidence_id).isoformat() == day.name:
                yield evidence_id


def _make_lasting(folder: Path) -> None:
    """A name in a folder outlives a crash of the machine once the folder has been synced."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
