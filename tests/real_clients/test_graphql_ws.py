"""graphql-ws, the client of nearly everybody who subscribes in a browser, with its defaults."""

import signal

import pytest

from api.database import DatabaseUrls
from tests.real_clients.node import Node
from tests.real_clients.processes import items_of, running
from tests.servers import credentials, running_server, settings_for
from tests.tenants import Tenant


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "stopped"])
async def test_client_asks_changes_and_follows_through_a_restart(
    node: Node, served_urls: DatabaseUrls, shop: Tenant, ending: signal.Signals
) -> None:
    in_hand = await shop.job(items=6)
    first, second, third, fourth, fifth, last = in_hand.items
    settings = settings_for(served_urls)

    async with running_server(**settings) as server, running(node, "graphql_ws", server, shop, in_hand) as program:
        assert (await program.tells_of("query"))["data"] == {"robotJob": {"status": "PENDING", "totalItems": 6}}
        assert (await program.tells_of("mutation"))["data"]["updateJobItemResult"] == {
            "__typename": "UpdateJobItemResultSuccess",
            "item": {"id": str(first.id), "status": "SUCCESS", "trackingNumber": "TRK-ws"},
        }
        told = []
        await server.report(second.id, headers=credentials(shop))
        told += [await program.tells_of("completion") for _ in range(2)]

        await server.end(ending)
        await shop.succeed(third)
        await shop.fail(fourth)
        async with running_server(**settings | {"ROBOT_JOBS_PORT": str(server.port)}) as again:
            await program.tells_of("reconnected")
            told += [await program.tells_of("completion") for _ in range(2)]
            await again.report(fifth.id, headers=credentials(shop))
            await again.report(last.id, headers=credentials(shop))
            told += await program.tells_to_the_end()

    assert [line["what"] for line in told] == ["completion"] * 6 + ["finished"]
    assert items_of(told) == [str(item.id) for item in in_hand.items]
    assert [line["completion"]["job"] for line in told[-2:-1]] == [
        {"status": "COMPLETED", "successCount": 5, "errorCount": 1, "totalItems": 6}
    ]
