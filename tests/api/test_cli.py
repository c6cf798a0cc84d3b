"""The command line on a PostgreSQL of one's own: what it prints, and that doing it twice does no harm."""

import asyncio
import datetime as dt

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from api.database import DatabaseUrls
from api.workspaces import DEMO_WORKSPACE_ID, seed_demo_workspace
from schema import schema
from tests.api.test_settings import refusal
from tests.conftest import Database
from tests.servers import Server, run_command, settings_for
from tests.tenants import Tenant

UNKNOWN = "01980000-0000-7000-8000-00000000dead"


async def printed(*arguments: str, urls: DatabaseUrls) -> str:
    """What the command prints, if all goes well and nothing is said besides."""
    ended = await asyncio.to_thread(run_command, *arguments, **settings_for(urls))
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout


async def rows(engine: AsyncEngine) -> list[int]:
    async with engine.connect() as connection:
        await connection.execute(sa.select(sa.func.set_config("robot_jobs.system", "on", True)))
        return [
            int(await connection.scalar(sa.text(f"SELECT count(*) FROM {table}")) or 0)  # noqa: S608 -- our own names
            for table in (
                "workspaces",
                "workspace_members",
                "orders",
                "carrier_coverage",
                "alembic_version",
                "carrier_configs",
            )
        ]


async def test_migrate_and_seed_may_be_repeated(database: Database) -> None:
    engine = create_async_engine(database.superuser_url, poolclass=NullPool)
    assert await printed("migrate", urls=database.urls) == "The database is up to date.\n"
    empty = await rows(engine)

    first = await printed("seed", urls=database.urls)
    after_first = await rows(engine)
    second = await printed("seed", urls=database.urls)

    assert first == f"Made the demo workspace {DEMO_WORKSPACE_ID}\n"
    assert second == f"There already: the demo workspace {DEMO_WORKSPACE_ID}\n"
    assert after_first == await rows(engine)
    assert after_first[:3] == [empty[0] + 1, empty[1] + 4, 199]
    assert after_first[-1] == 1
    await engine.dispose()


async def test_token_is_printed_alone_and_lets_a_viewer_read_and_not_write(
    server: Server, served_urls: DatabaseUrls
) -> None:
    await seed_demo_workspace(served_urls, None)
    token = (await printed("token", "--role", "viewer", urls=served_urls)).removesuffix("\n")
    headers = {"Authorization": f"Bearer {token}"}

    read = await server.ask("{ orders(first: 1) { nodes { id city } } }", headers=headers)
    (order,) = read["data"]["orders"]["nodes"]
    written = await server.ask(
        f'mutation {{ updateOrder(input: {{ orderId: "{order["id"]}", city: "Elsewhere" }}) {{ __typename }} }}',
        headers=headers,
    )

    assert token.count(".") == 2
    assert "\n" not in token
    assert written["data"] is None
    assert written["errors"][0]["extensions"]["code"] == "FORBIDDEN"
    assert read == await server.ask("{ orders(first: 1) { nodes { id city } } }", headers=headers)


def test_token_for_an_unknown_workspace_is_refused_with_one_line(served_urls: DatabaseUrls) -> None:
    unknown = "01980000-0000-7000-8000-00000000dead"

    said = refusal("token", "--workspace", unknown, **settings_for(served_urls))

    assert said == f"there is no workspace {unknown}; `robot-jobs seed` makes the demo workspace"


def test_schema_is_printed() -> None:
    ended = run_command("schema", DATABASE_URL="postgresql://nobody@127.0.0.1:1/nothing")

    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == schema.as_str() + "\n"


async def test_an_api_key_is_made_listed_used_and_revoked(
    server: Server, served_urls: DatabaseUrls, shop: Tenant
) -> None:
    of_shop = ("--workspace", str(shop.workspace_id))
    secret = (await printed("api-key", "create", "--name", "robot 1", *of_shop, urls=served_urls)).removesuffix("\n")
    limited = await printed(
        "api-key", "create", "--name", "robot 2", *of_shop, "--carrier", "coordinadora", "--days", "9", urls=served_urls
    )
    headers = {"Authorization": f"Bearer {secret}"}

    read = await server.ask("{ viewer { apiKey { id } workspaces { id } } }", headers=headers)
    key_id = read["data"]["viewer"]["apiKey"]["id"]
    lines = (await printed("api-key", "list", urls=served_urls)).splitlines()
    revoked = await printed("api-key", "revoke", key_id, urls=served_urls)
    again = await printed("api-key", "revoke", key_id, urls=served_urls)
    refused = await server.ask("{ viewer { apiKey { id } } }", headers=headers)
    listed = await printed("api-key", "list", urls=served_urls)

    assert secret.startswith("rjk_")
    assert "\n" not in secret
    assert read["data"]["viewer"]["workspaces"] == [{"id": str(shop.workspace_id)}]
    (first,) = [line for line in lines if key_id in line]
    (second,) = [line for line in lines if limited[:12] in line]
    assert lines.index(second) < lines.index(first), "newest first"
    assert first.startswith(f"{key_id}  {secret[:12]}…  workspace {shop.workspace_id}  all carriers  until revoked")
    assert first.endswith("  robot 1")
    assert f"coordinadora  until {dt.datetime.now(dt.UTC) + dt.timedelta(days=9):%Y-%m-%d}" in second
    assert secret not in "\n".join(lines) + listed
    assert revoked == again == f"Revoked: {key_id}  robot 1\n"
    assert refused["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
    assert f"revoked {dt.datetime.now(dt.UTC):%Y-%m-%d}" in next(line for line in listed.splitlines() if key_id in line)


async def test_a_key_of_the_installation_works_in_the_workspace_that_is_named(
    server: Server, served_urls: DatabaseUrls, shop: Tenant, other_shop: Tenant
) -> None:
    in_hand = await shop.job(items=1)
    made = await printed("api-key", "create", "--name", "all shops", "--all-workspaces", urls=served_urls)
    authorization = {"Authorization": f"Bearer {made.strip()}"}
    jobs = "{ robotJobs { nodes { id } } }"

    unnamed = await server.ask(jobs, headers=authorization)
    here = await server.ask(jobs, headers=authorization | {"X-Workspace-Id": str(shop.workspace_id)})
    there = await server.ask(jobs, headers=authorization | {"X-Workspace-Id": str(other_shop.workspace_id)})

    assert unnamed["errors"][0]["extensions"]["code"] == "WORKSPACE_REQUIRED"
    assert here["data"]["robotJobs"]["nodes"] == [{"id": str(in_hand.job.id)}]
    assert there["data"]["robotJobs"]["nodes"] == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["create", "--name", "x"], "name a --workspace, or say --all-workspaces"),
        (
            ["create", "--name", "x", "--all-workspaces", "--workspace", UNKNOWN],
            "name a --workspace, or say --all-workspaces",
        ),
        (["create", "--name", "x", "--workspace", UNKNOWN], f"there is no workspace {UNKNOWN}"),
        (
            ["create", "--name", "x", "--all-workspaces", "--days", "0"],
            "The input is not valid. expires_in_days: must be 1 to 3,650; it is 0.",
        ),
        (["revoke", UNKNOWN], f"There is no API key {UNKNOWN} in this workspace."),
    ],
    ids=lambda value: "" if isinstance(value, str) else " ".join(value[:1]),
)
def test_a_key_that_cannot_be_is_refused_with_one_line(
    served_urls: DatabaseUrls, arguments: list[str], said: str
) -> None:
    assert refusal("api-key", *arguments, **settings_for(served_urls)) == said


def test_no_developers_token_is_made_that_the_server_would_refuse(served_urls: DatabaseUrls) -> None:
    settings = settings_for(served_urls) | {
        "ROBOT_JOBS_JWKS_URL": "https://login.example/jwks.json",
        "ROBOT_JOBS_JWT_ISSUER": "https://login.example/",
    }
    del settings["ROBOT_JOBS_JWT_SECRET"]

    assert refusal("token", **settings).startswith("ROBOT_JOBS_JWT_SECRET: is needed to make tokens")
