"""A password that is known everywhere it could leak to: sent in every way there is, and then looked for.

In each answer, in the server's own log at its most talkative, in PostgreSQL's log of statements and parameters, in its
statistics, and in every row of every table.
"""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from api.database import DatabaseUrls, bring_up_to_date
from api.embedded_postgres import (
    APP_ROLE,
    OWNER_ROLE,
    EmbeddedPostgres,
    ensure_roles_and_database,
    start_embedded_postgres,
)
from domain.workspaces import Role
from tests.conftest import UNSAFE_BUT_FAST
from tests.domain.secrets import KEY_RING, read_password
from tests.schema.documents import UPSERT_CONFIG
from tests.servers import Server, Socket, credentials, open_socket, running_server, settings_for
from tests.tenants import Tenant, make_tenant

CANARY = "Kanarienvogel4711"
NUMBER = 47_114_711
TALKATIVE = UNSAFE_BUT_FAST | {
    "log_statement": "all",
    "log_min_duration_statement": "0",
    "log_min_error_statement": "debug5",
    "log_parameter_max_length": "-1",
    "log_parameter_max_length_on_error": "-1",
    "shared_preload_libraries": "pg_stat_statements",
    "pg_stat_statements.track": "all",
    "track_activity_query_size": "100kB",
}
GOOD: dict[str, Any] = {"carrier": "COORDINADORA", "username": "ana", "password": CANARY}

# What a client may get wrong, with the password beside it or in it.
VARIABLES: dict[str, dict[str, Any]] = {
    "good": GOOD,
    "a default of the wrong type": GOOD | {"shippingDefaults": 5},
    "a number of the wrong type": GOOD | {"shippingDefaults": {"heightCm": "tall"}},
    "a decimal of the wrong type": GOOD | {"shippingDefaults": {"weightKg": [CANARY]}},
    "a flag of the wrong type": GOOD | {"isEnabled": "yes"},
    "an unknown field": GOOD | {"passphrase": CANARY},
    "a misspelled field": {"carrier": "COORDINADORA", "passwort": CANARY},
    "an unknown carrier": GOOD | {"carrier": CANARY},
    "a carrier of the wrong type": GOOD | {"carrier": {CANARY: CANARY}},
    "no carrier": {"password": CANARY},
    "as a number": GOOD | {"password": NUMBER},
    "as a list": GOOD | {"password": [CANARY]},
    "as an object": GOOD | {"password": {"value": CANARY}},
    "too long": GOOD | {"password": CANARY * 40},
    "with NUL": GOOD | {"password": f"{CANARY}\x00"},
    "with half a surrogate pair": GOOD | {"password": f"{CANARY}\ud800"},
    "with another problem": GOOD | {"shippingDefaults": {"heightCm": 0}},
    "with a name that is too long": GOOD | {"username": "x" * 201},
}
LITERALS = {
    "good": f'password: "{CANARY}"',
    "unknown field": f'password: "{CANARY}", passphrase: "{CANARY}"',
    "wrong type": f'password: "{CANARY}", isEnabled: "{CANARY}"',
    "syntax error after it": f'password: "{CANARY}" !',
    "another string after it": f'password: "{CANARY}" "{CANARY}"',
    "a block string after it": f'password: "{CANARY}" """{CANARY}"""',
    "quotes left out": f"password: {CANARY}",
    "quotes left out twice": f"password: {CANARY} {CANARY} {CANARY}",
    "one quote left out": f'password: "{CANARY}, username: "ana"',
    "bad escape": f'password: "\\{CANARY}"',
    "as a number": f"password: {NUMBER}",
    "two numbers": f"password: {NUMBER} {NUMBER}",
    "as a list": f'password: ["{CANARY}"]',
    "as an object": f'password: {{value: "{CANARY}"}}',
}


@dataclass(slots=True)
class Watched:
    """A server with all that it writes, and all that it has answered."""

    server: Server
    postgres: EmbeddedPostgres
    superuser: AsyncEngine
    tenant: Tenant
    answers: list[str] = field(default_factory=list)

    async def send(self, document: str, variables: Mapping[str, Any], headers: Mapping[str, str]) -> str:
        body = json.dumps({"query": document, "variables": variables})
        return await self.post(body, headers)

    async def post(self, body: str, headers: Mapping[str, str]) -> str:
        headers = {**headers, "Content-Type": "application/json"}
        answer = await self.server.http.post("/graphql", content=body.encode(), headers=headers)
        self.answers += [answer.text, str(answer.headers)]
        return answer.text

    async def say(self, socket: Socket, document: str, variables: Mapping[str, Any]) -> None:
        await socket.subscribe(document, variables)
        while (message := await socket.receive())["type"] == "next":
            self.answers.append(json.dumps(message))
        self.answers.append(json.dumps(message))

    @asynccontextmanager
    async def broken(self) -> AsyncIterator[None]:
        """While nobody can write a password."""
        await self._alter("ALTER TABLE carrier_secrets RENAME COLUMN ciphertext TO misplaced")
        yield
        await self._alter("ALTER TABLE carrier_secrets RENAME COLUMN misplaced TO ciphertext")

    async def _alter(self, statement: str) -> None:
        async with self.superuser.begin() as connection:
            await connection.execute(sa.text(statement))

    async def written(self) -> dict[str, str]:
        """Everything that was written anywhere, by place."""
        places = {
            "answers": "\n".join(self.answers),
            "log": self.server.log.read_text(),
            "output": self.server.output.read_text(),
            "PostgreSQL's log": (self.postgres.home / "log").read_text(errors="replace"),
        }
        async with self.superuser.connect() as connection:
            tables = await connection.scalars(
                sa.text("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'")
            )
            for relation in (*tables.all(), "pg_stat_activity", "pg_stat_statements", "pg_prepared_statements"):
                rows = await connection.scalars(sa.text(f'SELECT t::text FROM "{relation}" t'))  # noqa: S608 -- no input
                places[relation] = "\n".join(rows)
        return places


@pytest.fixture
async def watched(reachable_folder: Path) -> AsyncIterator[Watched]:
    postgres = start_embedded_postgres(reachable_folder / "postgres", settings=TALKATIVE)
    await ensure_roles_and_database(postgres, "watched")
    urls = DatabaseUrls(postgres.url(APP_ROLE, "watched"), postgres.url(OWNER_ROLE, "watched"), is_embedded=True)
    superuser = create_async_engine(postgres.url("postgres", "watched"), poolclass=NullPool)
    engine = create_async_engine(urls.app, poolclass=NullPool)
    await bring_up_to_date(urls)
    async with superuser.begin() as connection:
        await connection.execute(sa.text("CREATE EXTENSION pg_stat_statements"))
    settings = settings_for(urls) | {
        "ROBOT_JOBS_LOG_LEVEL": "debug",
        "ROBOT_JOBS_CREDENTIAL_KEYS": KEY_RING.as_text(),
    }
    async with running_server(**settings) as server:
        yield Watched(server, postgres, superuser, await make_tenant(urls, engine))


async def test_a_password_is_nowhere_but_in_its_envelope(watched: Watched) -> None:
    tenant = watched.tenant
    admin = credentials(tenant, Role.ADMIN)
    literals = [
        f"mutation {{ upsertCarrierConfig(input: {{carrier: COORDINADORA, {literal}}}) {{ __typename }} }}"
        for literal in LITERALS.values()
    ]
    defaults = f'mutation ($secret: Int = "{CANARY}") {{ upsertCarrierConfig(input: {{password: $secret}}) {{ x }} }}'

    for given in VARIABLES.values():
        await watched.send(UPSERT_CONFIG, {"input": given}, admin)
    for document in (*literals, defaults):
        await watched.send(document, {}, admin)
        await watched.server.http.get("/graphql", params={"query": document}, headers=admin)
    await watched.send(UPSERT_CONFIG, {"input": CANARY}, admin)
    await watched.send(UPSERT_CONFIG, {"input": [GOOD, CANARY]}, admin)
    for body in (f'{{"query": "{CANARY}"', f'{{"query": ["{CANARY}"]}}', f'"{CANARY}"', CANARY):
        await watched.post(body, admin)
    for role in (Role.VIEWER, Role.OPERATOR, Role.ROBOT):
        assert "FORBIDDEN" in await watched.send(UPSERT_CONFIG, {"input": GOOD}, credentials(tenant, role))
    elsewhere = admin | {"X-Workspace-Id": "01980000-0000-7000-8000-000000000001"}
    assert "NOT_A_MEMBER" in await watched.send(UPSERT_CONFIG, {"input": GOOD}, elsewhere)
    assert "UNAUTHENTICATED" in await watched.send(UPSERT_CONFIG, {"input": GOOD}, {})
    async with watched.broken():
        assert "INTERNAL_ERROR" in await watched.send(UPSERT_CONFIG, {"input": GOOD}, admin)
    for document, variables in [
        *((UPSERT_CONFIG, {"input": given}) for given in VARIABLES.values()),
        *((document, {}) for document in (*literals, defaults)),
    ]:
        async with open_socket(watched.server, admin) as socket:
            await watched.say(socket, document, variables)
    assert "UpsertCarrierConfigSuccess" in await watched.send(UPSERT_CONFIG, {"input": GOOD}, admin)

    written = await watched.written()
    assert await read_password(tenant) == CANARY, "it was kept"
    assert "carrier_secrets" in written["PostgreSQL's log"], "statements are logged"
    assert "carrier_secrets" in written["pg_stat_statements"], "statements are counted"
    assert "fault" in written["log"], "the log is the server's"
    forms = (CANARY, CANARY.encode().hex(), str(NUMBER))
    found = {place: form for place, text in written.items() for form in forms if form.lower() in text.lower()}
    assert found == {}
