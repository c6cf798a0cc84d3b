"""The command line on a PostgreSQL of one's own: what it prints, and that doing it twice does no harm."""

import asyncio

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from api.database import DatabaseUrls
from api.workspaces import DEMO_WORKSPACE_ID, seed_demo_workspace
from schema import schema
from tests.api.test_settings import refusal
from tests.conftest import Database
from tests.servers import Server, run_command, settings_for


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
    await seed_demo_workspace(served_urls)
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
