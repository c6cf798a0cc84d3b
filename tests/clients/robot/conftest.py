"""A real API for robots, shops with a login at the scripted portal, and robots in this process."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from api.database import DatabaseUrls
from tests.clients.robot.gate import Gate, open_gate
from tests.clients.robot.workshops import Workshop, open_workshop
from tests.domain.secrets import KEY_RING
from tests.servers import Server, running_server, settings_for
from tests.tenants import Tenant


@pytest.fixture(scope="session")
async def api(served_urls: DatabaseUrls, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """A server that no test may break."""
    settings = settings_for(served_urls) | {
        "ROBOT_JOBS_CREDENTIAL_KEYS": KEY_RING.as_text(),
        "ROBOT_JOBS_EVIDENCE_DIR": str(tmp_path_factory.mktemp("evidence")),
    }
    async with running_server(**settings) as server:
        yield server


@pytest.fixture
async def gate(api: Server) -> AsyncIterator[Gate]:
    async with open_gate(api.url) as gate:
        yield gate


@pytest.fixture
async def workshop(gate: Gate, shop: Tenant, tmp_path: Path) -> AsyncIterator[Workshop]:
    async with open_workshop(gate, shop, tmp_path) as workshop:
        yield workshop
