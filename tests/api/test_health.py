"""Health: what is said while the database is there, gone, silent, and back."""

import time

from api.database import DatabaseUrls
from tests.api.network import Network
from tests.servers import credentials, running_server, settings_for, until
from tests.tenants import Tenant

ANSWERED_WITHIN_S = 3.5  # two, and what a busy machine adds


async def test_readiness_follows_the_database_and_the_process_stays_alive(
    network: Network, served_urls: DatabaseUrls, shop: Tenant
) -> None:
    settings = settings_for(served_urls) | {
        "DATABASE_URL": network.url(served_urls),
        "ROBOT_JOBS_POOL_TIMEOUT_S": "1.5",
    }

    async with running_server(**settings) as server:

        async def is_ready() -> bool:
            return (await server.http.get("/health/ready")).status_code == 200

        for trouble in (network.silence, network.cut):
            await trouble()
            started = time.monotonic()
            ready = await server.http.get("/health/ready")
            took_s = time.monotonic() - started
            answer = await server.ask("{ orders { nodes { id } } }", headers=credentials(shop))

            assert ready.status_code == 503
            assert ready.json() == {"status": "unavailable", "reason": "The database does not answer."}
            assert took_s < ANSWERED_WITHIN_S
            assert (await server.http.get("/health/live")).status_code == 200
            assert answer["data"] is None
            assert answer["errors"][0]["extensions"]["code"] == "SERVICE_UNAVAILABLE"

            await network.mend()
            await until(is_ready)
            assert "errors" not in await server.ask("{ orders { nodes { id } } }", headers=credentials(shop))
        assert "Traceback" not in server.log.read_text()
