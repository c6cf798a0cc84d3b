"""graphql-sse with its defaults, for those who cannot have a WebSocket."""

import signal

from api.database import DatabaseUrls
from tests.real_clients.node import Node
from tests.real_clients.processes import items_of, running
from tests.servers import credentials, running_server, settings_for
from tests.tenants import Tenant


async def test_client_asks_changes_and_follows_through_restarts(
    node: Node, served_urls: DatabaseUrls, shop: Tenant
) -> None:
    """It subscribes again by itself, after a kill as after a stop."""
    in_hand = await shop.job(items=6)
    items = iter(in_hand.items)
    first = next(items)
    settings = settings_for(served_urls)
    told = []

    async with running_server(**settings) as server, running(node, "graphql_sse", server, shop, in_hand) as program:
        assert (await program.tells_of("query"))["data"] == {"robotJob": {"status": "PENDING", "totalItems": 6}}
        assert (await program.tells_of("mutation"))["data"]["updateJobItemResult"] == {
            "__typename": "UpdateJobItemResultSuccess",
            "item": {"id": str(first.id), "status": "SUCCESS", "trackingNumber": "TRK-sse"},
        }
        (error,) = (await program.tells_of("error"))["errors"]
        assert error["extensions"]["code"] == "ROBOT_JOB_NOT_FOUND"
        (error,) = (await program.tells_of("invalid document"))["errors"]
        assert error["extensions"]["code"] == "GRAPHQL_VALIDATION_FAILED"
        await server.report(next(items).id, headers=credentials(shop))
        told += [await program.tells_of("completion") for _ in range(2)]

        settings["ROBOT_JOBS_PORT"] = str(server.port)
        await server.end(signal.SIGKILL)
        await shop.fail(next(items))
        async with running_server(**settings) as second:
            told.append(await program.tells_of("completion"))
            await second.report(next(items).id, headers=credentials(shop))
            told.append(await program.tells_of("completion"))
            await second.end(signal.SIGTERM)
        await shop.succeed(next(items))
        async with running_server(**settings) as third:
            for item in items:
                await third.report(item.id, headers=credentials(shop))
            told += await program.tells_to_the_end()

    assert [line["what"] for line in told] == ["completion"] * 6 + ["finished"]
    assert items_of(told) == [str(item.id) for item in in_hand.items]
    assert told[-2]["completion"]["job"] == {
        "status": "COMPLETED",
        "successCount": 5,
        "errorCount": 1,
        "totalItems": 6,
    }
