"""gql, the GraphQL client for Python: over HTTP, over WebSocket, and with the schema that it reads by itself."""

import pytest
from gql import Client, gql
from gql.transport.exceptions import TransportConnectionFailed, TransportQueryError
from gql.transport.httpx import HTTPXAsyncTransport
from graphql import GraphQLError
from websockets.exceptions import ConnectionClosed

from tests.real_clients.gql_client import client_for, follow, report
from tests.real_clients.node import ROOT
from tests.real_clients.processes import cuttable
from tests.servers import Server, credentials
from tests.tenants import Tenant

MISTAKEN = gql("{ robotJobs(first: 1) { nodes { colour } } }")


async def test_results_are_reported_and_refused_as_data(server: Server, shop: Tenant) -> None:
    in_hand = await shop.job(items=1)
    client = client_for(f"{server.url}/graphql", credentials(shop))

    recorded = await report(client, str(in_hand.items[0].id), "TRK-gql")
    refused = await report(client, str(in_hand.job.id), "TRK-gql")

    assert recorded["item"] == {"id": str(in_hand.items[0].id), "status": "SUCCESS", "trackingNumber": "TRK-gql"}
    assert recorded["job"] == {"successCount": 1, "totalItems": 1}
    assert (refused["__typename"], refused["code"]) == ("RobotJobItemNotFound", "ROBOT_JOB_ITEM_NOT_FOUND")


async def test_what_is_not_expected_is_raised_with_its_code(server: Server, shop: Tenant) -> None:
    url = f"{server.url}/graphql"

    with pytest.raises(TransportQueryError) as nobody:
        await report(client_for(url, {}), str(shop.workspace_id), "TRK-gql")
    async with client_for(url, credentials(shop)) as session:
        with pytest.raises(TransportQueryError) as mistaken:
            await session.execute(MISTAKEN)

    assert [error["extensions"]["code"] for error in nobody.value.errors or []] == ["UNAUTHENTICATED"]
    assert [error["extensions"]["code"] for error in mistaken.value.errors or []] == ["GRAPHQL_VALIDATION_FAILED"]


async def test_schema_that_it_reads_from_server_or_file_tells_mistakes_before_they_are_sent(
    server: Server, shop: Tenant
) -> None:
    transport = HTTPXAsyncTransport(f"{server.url}/graphql", headers=credentials(shop), timeout=30)
    sdl = (ROOT / "schema" / "schema.graphql").read_text()

    for client in (
        Client(transport=transport, fetch_schema_from_transport=True),
        Client(transport=transport, schema=sdl),
    ):
        async with client as session:
            assert (await session.execute(gql("{ robotJobs(first: 1) { nodes { id } } }"))) == {
                "robotJobs": {"nodes": []}
            }
            with pytest.raises(GraphQLError, match="Cannot query field 'colour' on type 'RobotJob'"):
                await session.execute(MISTAKEN)


async def test_job_is_followed_through_connections_that_are_cut(server: Server, shop: Tenant) -> None:
    in_hand = await shop.job(items=4)
    first, second, third, last = in_hand.items
    told = []

    async with cuttable(server) as line:
        await shop.succeed(first)
        async for completion in follow(f"{line.url}/graphql", credentials(shop), str(in_hand.job.id)):
            told.append(completion)
            match len(told):
                case 1:
                    line.cut()
                    await shop.succeed(second)
                    await shop.fail(third)
                case 3:
                    line.cut()
                    await shop.succeed(last)

    assert [completion["item"]["id"] for completion in told] == [str(item.id) for item in in_hand.items]
    assert told[-1]["job"] == {"status": "COMPLETED", "successCount": 3, "errorCount": 1, "totalItems": 4}


async def test_follower_that_the_server_refuses_does_not_try_for_ever(server: Server, shop: Tenant) -> None:
    with pytest.raises(TransportConnectionFailed) as refused:
        async for _ in follow(f"{server.url}/graphql", {"Authorization": "Bearer nonsense"}, str(shop.workspace_id)):
            pass

    assert isinstance(refused.value.__cause__, ConnectionClosed)
    assert refused.value.__cause__.rcvd is not None
    assert refused.value.__cause__.rcvd.code == 4403
