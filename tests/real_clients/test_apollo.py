"""Apollo Client with its links split as its documentation has it, and a cache that knows the schema's unions."""

import signal

from api.database import DatabaseUrls
from tests.real_clients.node import Node
from tests.real_clients.processes import items_of, running
from tests.servers import Server, credentials, running_server, settings_for
from tests.tenants import Tenant


async def test_apollo_pages_asks_changes_tells_errors_apart_and_follows(
    node: Node, server: Server, shop: Tenant
) -> None:
    others = [await shop.job(items=1) for _ in range(3)]
    in_hand = await shop.job(items=4)
    _, second, third, last = in_hand.items
    newest_first = [str(job.job.id) for job in (in_hand, *reversed(others))]

    async with running(node, "apollo", server, shop, in_hand) as program:
        assert (await program.tells_of("page"))["ids"] == newest_first[:2]
        assert (await program.tells_of("all pages"))["ids"] == newest_first
        assert (await program.tells_of("query"))["data"]["node"] == {
            "__typename": "RobotJob",
            "id": str(in_hand.job.id),
            "carrier": "COORDINADORA",
            "status": "PENDING",
        }
        changed = (await program.tells_of("mutation"))["result"]
        assert changed["__typename"] == "UpdateJobItemResultSuccess"
        assert changed["item"]["trackingNumber"] == "TRK-apollo"
        refused = (await program.tells_of("typed error"))["result"]
        assert (refused["__typename"], refused["code"]) == ("RobotJobItemNotFound", "ROBOT_JOB_ITEM_NOT_FOUND")
        assert (await program.tells_of("cache"))["item"]["status"] == "SUCCESS"
        assert (await program.tells_of("nobody"))["codes"] == ["UNAUTHENTICATED"]
        assert (await program.tells_of("invalid document"))["codes"] == ["GRAPHQL_VALIDATION_FAILED"]

        await server.report(second.id, headers=credentials(shop))
        told = [await program.tells_of("completion") for _ in range(2)]
        await program.say("cut the connection")
        await shop.fail(third)
        await program.tells_of("reconnected")
        await server.report(last.id, headers=credentials(shop))
        told += await program.tells_to_the_end()

    assert [line["what"] for line in told] == ["completion"] * 4 + ["finished"]
    assert items_of(told) == [str(item.id) for item in in_hand.items]
    assert (told[-1]["job"]["status"], told[-1]["job"]["errorCount"]) == ("COMPLETED", 1)


async def test_apollo_follows_over_http_alone_through_restarts(
    node: Node, served_urls: DatabaseUrls, shop: Tenant
) -> None:
    """With HttpLink's multipart subscriptions: no WebSocket and no other package."""
    in_hand = await shop.job(items=5)
    first, second, third, fourth, last = in_hand.items
    settings = settings_for(served_urls)
    told = []

    async with (
        running_server(**settings) as server,
        running(node, "apollo_multipart", server, shop, in_hand) as program,
    ):
        assert (await program.tells_of("query"))["data"]["robotJob"]["totalItems"] == 5
        assert (await program.tells_of("error"))["codes"] == ["ROBOT_JOB_NOT_FOUND"]
        for item in (first, second):
            await server.report(item.id, headers=credentials(shop))
            told.append(await program.tells_of("completion"))

        settings["ROBOT_JOBS_PORT"] = str(server.port)
        await server.end(signal.SIGKILL)
        await shop.fail(third)
        async with running_server(**settings) as after_the_kill:
            told.append(await program.tells_of("completion"))
            await after_the_kill.end(signal.SIGTERM)
        await shop.succeed(fourth)
        async with running_server(**settings) as after_the_stop:
            await after_the_stop.report(last.id, headers=credentials(shop))
            told += await program.tells_to_the_end()

    assert [line["what"] for line in told] == ["completion"] * 5 + ["finished"]
    assert items_of(told) == [str(item.id) for item in in_hand.items]
    assert (told[-1]["job"]["status"], told[-1]["job"]["errorCount"]) == ("COMPLETED", 1)
