"""Which workspace a request is about, and what is said to those who name another one."""

import uuid

import pytest

from api.database import DatabaseUrls, owner_engine
from domain.workspaces import Membership, Role, enter_as_owner, set_member
from tests.servers import Server, credentials
from tests.tenants import Tenant

ORDERS = "{ orders { nodes { reference } } }"
NOT_A_MEMBER = "You are not a member of that workspace, or it does not exist."


async def add_member(urls: DatabaseUrls, membership: Membership) -> None:
    async with owner_engine(urls).begin() as connection:
        await enter_as_owner(connection)
        await set_member(connection, membership)


async def test_the_only_membership_is_meant_when_none_is_named(server: Server, shop: Tenant) -> None:
    (order,) = await shop.orders(1)
    headers = credentials(shop)
    del headers["X-Workspace-Id"]

    answer = await server.ask(ORDERS, headers=headers)

    assert answer["data"]["orders"]["nodes"] == [{"reference": order.reference}]


async def test_member_of_several_must_name_one(
    server: Server, served_urls: DatabaseUrls, shop: Tenant, other_shop: Tenant
) -> None:
    (order,) = await other_shop.orders(1)
    user = shop.user(Role.OPERATOR)
    await add_member(served_urls, Membership(other_shop.workspace_id, user, Role.VIEWER))
    headers = credentials(shop)

    named = await server.ask(ORDERS, headers=headers | {"X-Workspace-Id": str(other_shop.workspace_id)})
    del headers["X-Workspace-Id"]
    unnamed = await server.ask(ORDERS, headers=headers)

    assert named["data"]["orders"]["nodes"] == [{"reference": order.reference}]
    assert unnamed["data"] is None
    assert unnamed["errors"][0]["extensions"]["code"] == "WORKSPACE_REQUIRED"


@pytest.mark.parametrize("named", ["others", "nobodys", "x", "' OR true --", "0" * 5_000, "ñ"])
async def test_workspace_of_others_is_answered_as_one_that_does_not_exist(
    server: Server, shop: Tenant, other_shop: Tenant, named: str
) -> None:
    await other_shop.orders(1)
    workspace = {"others": str(other_shop.workspace_id), "nobodys": str(uuid.uuid4())}.get(named, named)
    headers = {name.encode(): value.encode() for name, value in credentials(shop).items()}

    answered = await server.http.post(
        "/graphql", json={"query": ORDERS}, headers=headers | {b"X-Workspace-Id": workspace.encode()}
    )

    assert answered.json() == {
        "data": None,
        "errors": [
            {
                "message": NOT_A_MEMBER,
                "locations": [{"line": 1, "column": 3}],
                "path": ["orders"],
                "extensions": {"code": "NOT_A_MEMBER"},
            }
        ],
    }


async def test_role_is_the_one_in_the_workspace_that_is_named(
    server: Server, served_urls: DatabaseUrls, shop: Tenant, other_shop: Tenant
) -> None:
    """An operator of one shop who is a viewer in the other may not write there."""
    (order,) = await other_shop.orders(1)
    await add_member(served_urls, Membership(other_shop.workspace_id, shop.user(Role.OPERATOR), Role.VIEWER))
    headers = credentials(shop) | {"X-Workspace-Id": str(other_shop.workspace_id)}

    refused = await server.ask(
        f'mutation {{ updateOrder(input: {{ orderId: "{order.id}", city: "Cali" }}) {{ __typename }} }}',
        headers=headers,
    )

    assert refused["errors"][0]["extensions"]["code"] == "FORBIDDEN"
    read = await server.ask("{ orders { nodes { city } } }", headers=headers)
    assert read["data"]["orders"]["nodes"] == [{"city": order.city}]
