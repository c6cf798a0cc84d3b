"""An embedded PostgreSQL of the benchmarks' own, with nothing in it yet."""

import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from api.database import DatabaseUrls, bring_up_to_date, find_database
from api.settings import load_settings


@asynccontextmanager
async def fresh_database() -> AsyncIterator[DatabaseUrls]:
    """Migrated, with the reference data; gone afterwards."""
    home = tempfile.mkdtemp(prefix="robot-jobs-bench-")
    os.chmod(home, 0o755)  # noqa: PTH101, S103 -- the server's user must be able to enter
    try:
        urls = await find_database(load_settings(home=home, database_url=None))
        await bring_up_to_date(urls)
        yield urls
    finally:
        shutil.rmtree(home, ignore_errors=True)
