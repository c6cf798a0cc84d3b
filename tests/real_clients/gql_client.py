"""gql, the GraphQL client for Python, as docs/clients.md shows it."""

# region: client
import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from gql import Client, GraphQLRequest, gql
from gql.transport.exceptions import TransportClosed, TransportConnectionFailed
from gql.transport.httpx import HTTPXAsyncTransport
from gql.transport.websockets import WebsocketsTransport


def client_for(url: str, credentials: Mapping[str, str]) -> Client:
    """`credentials` are {"Authorization": "Bearer …"}, and "X-Workspace-Id" for members of several workspaces."""
    return Client(transport=HTTPXAsyncTransport(url, headers=dict(credentials), timeout=30))


# endregion

# region: report
REPORT = gql("""
    mutation Report($input: UpdateJobItemResultInput!) {
      updateJobItemResult(input: $input) {
        __typename
        ... on UpdateJobItemResultSuccess { item { id status trackingNumber } job { successCount totalItems } }
        ... on Error { code message }
      }
    }
""")


async def report(client: Client, item_id: str, tracking_number: str) -> dict[str, Any]:
    """Raises TransportQueryError for what is not expected: no token, a limit, a fault; it has `extensions.code`."""
    result = {"itemId": item_id, "status": "SUCCESS", "trackingNumber": tracking_number}
    async with client as session:
        answer = await session.execute(GraphQLRequest(REPORT, variable_values={"input": result}))
    recorded: dict[str, Any] = answer["updateJobItemResult"]
    return recorded


# endregion

# region: follow
FOLLOW = gql("""
    subscription Follow($jobId: ID!, $after: String) {
      robotJobItemCompleted(jobId: $jobId, after: $after) {
        cursor
        item { id status trackingNumber errorType errorMessage }
        job { status successCount errorCount totalItems }
      }
    }
""")


async def follow(
    url: str, credentials: Mapping[str, str], job_id: str, *, after: str = "0"
) -> AsyncGenerator[dict[str, Any]]:
    """Each completion once and in order, whatever becomes of the connection, until the job has ended."""
    while True:
        transport = WebsocketsTransport(
            url.replace("http", "ws", 1),
            init_payload=dict(credentials),
            subprotocols=[WebsocketsTransport.GRAPHQLWS_SUBPROTOCOL],
        )
        try:
            async with Client(transport=transport) as session:
                request = GraphQLRequest(FOLLOW, variable_values={"jobId": job_id, "after": after})
                async for answer in session.subscribe(request):
                    completion = answer["robotJobItemCompleted"]
                    after = completion["cursor"]
                    yield completion
        except (TransportConnectionFailed, TransportClosed) as error:
            close = getattr(error.__cause__, "rcvd", None)
            if close is not None and close.code >= 4400:  # on purpose: the token, or a mistake of ours
                raise
            await asyncio.sleep(0.5)
        else:
            return  # all has been told


# endregion
