"""graphql-ws, the client of nearly everybody who subscribes in a browser, set up as docs/clients.md has it."""

import signal

from api.database import DatabaseUrls
from tests.real_clients.node import Node
from tests.real_clients.processes import items_of, running
from tests.servers import credentials, running_server, settings_for
from tests.tenants import Tenant


async def test_client_asks_changes_and_follows_through_restarts(
    node: Node, served_urls: DatabaseUrls, shop: Tenant
) -> None:
    in_hand = await shop.job(items=8)
    items = iter(in_hand.items)
    first = next(items)
    settings = settings_for(served_urls)
    told = []

    async with running_server(**settings) as server, running(node, "graphql_ws", server, shop, in_hand) as program:
        assert (await program.tells_of("query"))["data"] == {"robotJob": {"status": "PENDING", "totalItems": 8}}
        assert (await program.tells_of("mutation"))["data"]["updateJobItemResult"] == {
            "__typename": "UpdateJobItemResultSuccess",
            "item": {"id": str(first.id), "status": "SUCCESS", "trackingNumber": "TRK-ws"},
        }
        await server.report(next(items).id, headers=credentials(shop))
        told += [await program.tells_of("completion") for _ in range(2)]

        settings["ROBOT_JOBS_PORT"] = str(server.port)
        await server.end(signal.SIGKILL)
        await shop.succeed(next(items))
        await shop.fail(next(items))
        async with running_server(**settings) as second:
            await program.tells_of("reconnected")
            await second.report(next(items).id, headers=credentials(shop))
            told += [await program.tells_of("completion") for _ in range(3)]
            await second.end(signal.SIGTERM)
        await shop.succeed(next(items))
        async with running_server(**settings) as third:
            await program.tells_of("reconnected")
            for item in items:
                await third.report(item.id, headers=credentials(shop))
            told += await program.tells_to_the_end()

    assert [line["what"] for line in told] == ["completion"] * 8 + ["finished"]
    assert items_of(told) == [str(item.id) for item in in_hand.items]
    assert told[-2]["completion"]["job"] == {
        "status": "COMPLETED",
        "successCount": 7,
        "errorCount": 1,
        "totalItems": 8,
    }
