"""What nobody expects: a client sees an id to quote and nothing else; the log has the same id and the reason."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from schema.faults import without_tokens, without_values
from tests.conftest import Database
from tests.schema.caller import Api, Caller, MemoryWakeUps
from tests.schema.documents import FOLLOW_ITEMS, ITEM, JOBS, REPORT
from tests.tenants import Tenant


@asynccontextmanager
async def renamed_items(database: Database) -> AsyncIterator[None]:
    """The database as nobody expects it; put right at the end, for the other tests use it too."""
    engine = create_async_engine(database.superuser_url, poolclass=NullPool)
    async with engine.begin() as connection:
        await connection.execute(sa.text("ALTER TABLE robot_job_items RENAME TO misplaced"))
    try:
        yield
    finally:
        async with engine.begin() as connection:
            await connection.execute(sa.text("ALTER TABLE misplaced RENAME TO robot_job_items"))


@pytest.mark.parametrize("operation", ["query", "mutation", "subscription"])
async def test_a_fault_shows_an_id_and_no_internals(
    database: Database, tenant: Tenant, operator: Caller, operation: str, caplog: pytest.LogCaptureFixture
) -> None:
    in_hand = await tenant.job(items=1)
    item_id = str(in_hand.items[0].id)

    async with renamed_items(database):
        with caplog.at_level(logging.ERROR, logger="robot_jobs.faults"):
            match operation:
                case "query":
                    error = await operator.refused(ITEM, id=item_id)
                case "mutation":
                    error = await operator.refused(REPORT, input={"itemId": item_id, "status": "SUCCESS"})
                case _:
                    async with operator.follow(FOLLOW_ITEMS, jobId=str(in_hand.job.id), after="0") as stream:
                        error = await stream.error_and_end()

    error_id = error["extensions"]["errorId"]
    assert error["extensions"] == {"code": "INTERNAL_ERROR", "errorId": error_id}
    assert error["message"] == f"Something went wrong on our side. Quote the error id {error_id} when you report it."
    (record,) = caplog.records
    assert error_id in record.getMessage()
    assert "robot_job_items" in caplog.text, "the log says what it was"


UPSERT = "mutation ($input: UpsertCarrierConfigInput!) { upsertCarrierConfig(input: $input) { __typename } }"
LITERAL = "mutation {{ upsertCarrierConfig(input: {{carrier: COORDINADORA, {}}}) {{ __typename }} }}"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"isEnabled": "hunter2"},
            "Variable '$input' has invalid value at .isEnabled: "
            "Boolean cannot represent a non boolean value: a string.",
        ),
        (
            {"password": 4711},
            "Variable '$input' has invalid value at .password: String cannot represent a non string value: a number.",
        ),
        (
            {"password": ["hunter2"]},
            "Variable '$input' has invalid value at .password: String cannot represent a non string value: a list.",
        ),
        (
            {"shippingDefaults": {"weightKg": "hunter2"}},
            "Variable '$input' has invalid value at .shippingDefaults.weightKg: "
            'A number is written in digits with a point, such as "52900.5".',
        ),
        (
            {"shippingDefaults": "hunter2"},
            "Variable '$input' has invalid value at .shippingDefaults: "
            "Expected value of type 'ShippingDefaultsInput' to be an object, found: a string.",
        ),
        (
            {"passwort": "hunter2"},
            "Variable '$input' has invalid value: Expected value of type 'UpsertCarrierConfigInput' not to include "
            "unknown field 'passwort'. Did you mean 'password'? Found: an object.",
        ),
        (
            {"carrier": "coordinadora"},
            "Variable '$input' has invalid value at .carrier: The value does not exist in 'Carrier' enum. "
            "Did you mean the enum value 'COORDINADORA'?",
        ),
        (
            {"carrier": "hunter2' does not exist in 'Carrier' enum. hunter2"},
            "Variable '$input' has invalid value at .carrier: The value does not exist in 'Carrier' enum.",
        ),
        (
            {"carrier": {"hunter2": 1}},
            "Variable '$input' has invalid value at .carrier: Enum 'Carrier' cannot represent non-string value: "
            "an object.",
        ),
    ],
)
async def test_what_is_wrong_is_named_without_what_was_sent(operator: Caller, given: dict[str, Any], said: str) -> None:
    error = await operator.refused(UPSERT, input={"carrier": "COORDINADORA", "password": "hunter2"} | given)

    assert error["message"] == said
    assert error["extensions"]["code"] == "GRAPHQL_VALIDATION_FAILED"


@pytest.mark.parametrize(
    ("literal", "said"),
    [
        ('password: "hunter2" "hunter2"', "Syntax Error: Expected Name, found String."),
        ('password: "hunter2" """hunter2"""', "Syntax Error: Expected Name, found BlockString."),
        ("password: hunter2 4711", "Syntax Error: Expected Name, found Int."),
        ('password: "hunter2" !', "Syntax Error: Expected Name, found '!'."),
        ('password: "\\hunter2"', "Syntax Error: Invalid character escape sequence."),
        ('password: "\\u{hunter2}"', "Syntax Error: Invalid Unicode escape sequence."),
        ("password: .4711", "Syntax Error: Invalid number, expected digit before '.'."),
        ("password: hunter2", "String cannot represent a non string value: a name."),
        (
            'password: "hunter2", passwort: "hunter2"',
            "Expected value of type 'UpsertCarrierConfigInput' not to include unknown field 'passwort'. "
            "Did you mean 'password'? Found: an object.",
        ),
    ],
)
async def test_a_literal_is_not_quoted_either(operator: Caller, literal: str, said: str) -> None:
    error = await operator.refused(LITERAL.format(literal))

    assert error["message"] == said
    assert error["locations"], "where it is says which"


@pytest.mark.parametrize("part", ["Value '", ", found: ", " does not exist in '", "'A', ", "cannot represent a non "])
def test_hiding_values_takes_time_in_proportion(part: str) -> None:
    message = "Value '" + part * 100_000 + "' does not exist in 'Carrier' enum. Did you mean the enum value " + part

    started = time.process_time()
    without_values(message)
    without_tokens(message)

    assert time.process_time() - started < 1


async def test_a_pool_without_a_free_connection_is_unavailable(
    database: Database, tenant: Tenant, wakeups: MemoryWakeUps
) -> None:
    engine = create_async_engine(database.urls.app, pool_size=1, max_overflow=0, pool_timeout=0.05)
    async with engine.connect():
        code = await Api(engine, wakeups).member(tenant).code(JOBS)
    await engine.dispose()

    assert code == "SERVICE_UNAVAILABLE"


async def test_a_database_that_is_not_there_is_unavailable(tenant: Tenant, wakeups: MemoryWakeUps) -> None:
    engine: AsyncEngine = create_async_engine("postgresql+asyncpg://nobody@/nothing?host=/nowhere", poolclass=NullPool)

    assert await Api(engine, wakeups).member(tenant).code(JOBS) == "SERVICE_UNAVAILABLE"


async def test_connections_that_were_cut_cost_nobody_an_error(
    database: Database, tenant: Tenant, operator: Caller
) -> None:
    await asyncio.gather(*(operator.ask(JOBS) for _ in range(5)))
    superuser = create_async_engine(database.superuser_url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    async with superuser.connect() as connection:
        await connection.execute(
            sa.text(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )

    for document in (JOBS, "{ orders { nodes { id } } }", JOBS):
        await operator.ask(document)


async def test_a_connection_that_breaks_as_it_is_taken_up_costs_another_try(
    engine: AsyncEngine, tenant: Tenant, operator: Caller
) -> None:
    """Nobody knew that it was broken when it was handed out."""
    await operator.ask(JOBS)
    seen = []

    def cut(adapted: Any, *_: object) -> None:
        seen.append(adapted)
        if len(seen) == 1:
            adapted.driver_connection.terminate()

    sa.event.listen(engine.sync_engine.pool, "checkout", cut)
    try:
        await operator.ask(JOBS)
    finally:
        sa.event.remove(engine.sync_engine.pool, "checkout", cut)

    assert len(seen) == 2
