"""urql's core with its default exchanges, and graphql-ws for subscriptions as its documentation has it."""

from tests.real_clients.node import Node
from tests.real_clients.processes import items_of, running
from tests.servers import Server, credentials
from tests.tenants import Tenant


async def test_urql_asks_changes_tells_errors_apart_and_follows(node: Node, server: Server, shop: Tenant) -> None:
    in_hand = await shop.job(items=4)
    first, second, third, last = in_hand.items

    async with running(node, "urql", server, shop, in_hand) as program:
        job = (await program.tells_of("query"))["data"]["robotJob"]
        assert (job["__typename"], job["id"], job["status"]) == ("RobotJob", str(in_hand.job.id), "PENDING")
        assert [node["id"] for node in job["items"]["nodes"]] == [str(first.id), str(second.id)]
        assert job["items"]["pageInfo"]["hasNextPage"]
        changed = (await program.tells_of("mutation"))["result"]
        assert changed["__typename"] == "UpdateJobItemResultSuccess"
        assert (changed["item"]["id"], changed["item"]["trackingNumber"]) == (str(first.id), "TRK-urql")
        assert changed["job"]["successCount"] == 1
        refused = (await program.tells_of("typed error"))["result"]
        assert (refused["__typename"], refused["code"]) == ("RobotJobItemNotFound", "ROBOT_JOB_ITEM_NOT_FOUND")
        assert await program.tells_of("invalid document") == {
            "what": "invalid document",
            "codes": ["GRAPHQL_VALIDATION_FAILED"],
            "network": "",
        }
        assert await program.tells_of("nobody") == {"what": "nobody", "codes": ["UNAUTHENTICATED"], "network": ""}

        await server.report(second.id, headers=credentials(shop))
        told = [await program.tells_of("completion") for _ in range(2)]
        await program.say("cut the connection")
        await shop.fail(third)
        await program.tells_of("reconnected")
        await server.report(last.id, headers=credentials(shop))
        told += await program.tells_to_the_end()

    assert [line["what"] for line in told] == ["completion"] * 4
    assert items_of(told) == [str(item.id) for item in in_hand.items]
    assert [line["completion"]["job"]["status"] for line in told] == ["PROCESSING"] * 3 + ["COMPLETED"]


async def test_urql_follows_by_events_and_is_answered_in_json_otherwise(
    node: Node, server: Server, shop: Tenant
) -> None:
    """Its queries and mutations name Server-Sent Events and multipart among what they accept, by default."""
    in_hand = await shop.job(items=3)

    async with running(node, "urql_sse", server, shop, in_hand) as program:
        assert (await program.tells_of("query"))["data"]["robotJob"]["totalItems"] == 3
        changed = await program.tells_of("mutation")
        assert changed["data"]["updateJobItemResult"]["__typename"] == "UpdateJobItemResultSuccess"
        asked = (await program.tells_of("asked"))["asked"]
        for item in in_hand.items[1:]:
            await server.report(item.id, headers=credentials(shop))
        told = await program.tells_to_the_end()

    assert all("text/event-stream" in each["accept"] and "multipart/mixed" in each["accept"] for each in asked)
    assert [each["type"] for each in asked] == ["application/graphql-response+json"] * 2
    assert [line["what"] for line in told] == ["completion"] * 3 + ["again"] * 3 + ["asked"]
    assert items_of(told) == [str(item.id) for item in in_hand.items]
    again = [line["completion"] for line in told if line["what"] == "again"]
    assert again == [line["completion"] for line in told if line["what"] == "completion"]
    assert [each["type"] for each in told[-1]["asked"]] == ["text/event-stream"]
