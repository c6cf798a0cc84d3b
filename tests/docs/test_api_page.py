"""docs/api.md says what the API does: every example is run against a real server, every table compared with the code.

`make docs` writes answers and tables anew.
"""

import os
from typing import Any

from domain.workspaces import Role
from schema.errors import ErrorCode
from tests.conftest import Database
from tests.docs.page import PAGE, Example, Stable, examples, pretty, with_tables
from tests.docs.tables import access_table, error_table
from tests.servers import Server, credentials, open_socket, running_server, settings_for
from tests.tenants import Tenant

REWRITES = os.environ.get("ROBOT_JOBS_REWRITE_DOCS") == "1"
TABLES = {"access": access_table(), "errors": error_table()}


async def test_every_example_is_answered_as_the_page_says(database: Database, tenant: Tenant) -> None:
    page, stable = PAGE.read_text(), Stable()
    answers: list[tuple[Example, str]] = []
    async with running_server(**settings_for(database.urls)) as server:
        for example in examples(page):
            answer = await _run(server, tenant, example, stable.real(example.variables))
            answers.append((example, pretty(stable.show(answer)) + "\n"))
            if not REWRITES:
                assert answers[-1][1] == example.answer, example.document

    assert answers
    if REWRITES:
        for example, answer in reversed(answers):
            start, end = example.answer_span
            page = page[:start] + answer + page[end:]
        PAGE.write_text(page)


async def _run(server: Server, tenant: Tenant, example: Example, variables: dict[str, Any]) -> Any:
    headers = credentials(tenant, Role(example.who))
    if not example.is_subscription:
        return await server.ask(example.document, variables, headers=headers)
    messages = []
    async with open_socket(server, headers) as socket:
        await socket.subscribe(example.document, variables)
        while (message := await socket.receive())["type"] == "next":
            assert "errors" not in message["payload"], message
            messages.append(message["payload"]["data"])
            if example.is_endless:
                return messages[0]
    assert message["type"] == "complete", message
    return messages


def test_every_table_is_as_the_code_has_it() -> None:
    page = PAGE.read_text()
    if REWRITES:
        PAGE.write_text(with_tables(page, TABLES))

    assert with_tables(PAGE.read_text(), TABLES) == PAGE.read_text()
    assert all(f"<!-- table: {name} -->" in page for name in TABLES)


def test_every_code_of_an_error_is_in_the_page() -> None:
    page = PAGE.read_text()

    assert [code.value for code in ErrorCode if f"`{code.value}`" not in page] == []
