"""GraphQL over HTTP: what is answered to whom, and to those who send what is no GraphQL request."""

import datetime as dt
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin

from api.database import DatabaseUrls
from api.tokens import Tokens
from domain.workspaces import Role
from tests.servers import SECRET, Server, credentials, raw_socket, running_server, settings_for
from tests.tenants import Tenant

JSON = {"Content-Type": "application/json"}
ORIGIN = "https://shop.example"
DEEP = b"[" * 100_000 + b"]" * 100_000
MANY_DIGITS = b"1" * 5_000
ORDERS = "query ($first: Int) { orders(first: $first) { nodes { id } } }"


def problem(answer: httpx.Response) -> tuple[int, str]:
    """The status and the code of an answer that is one GraphQL error, and JSON."""
    assert answer.headers["content-type"] == "application/json"
    (error,) = answer.json()["errors"]
    assert error["message"]
    return answer.status_code, error["extensions"]["code"]


# ---------------------------------------------------------------------------------------------- good requests


async def test_query_is_answered_over_post_and_get(server: Server, shop: Tenant) -> None:
    headers = credentials(shop)
    await shop.orders(2)

    by_post = await server.http.post("/graphql", json={"query": ORDERS, "variables": {"first": 1}}, headers=headers)
    by_get = await server.http.get("/graphql", params={"query": ORDERS, "variables": '{"first": 1}'}, headers=headers)

    assert by_post.status_code == by_get.status_code == 200
    assert by_post.headers["content-type"] == "application/json"
    assert by_post.json() == by_get.json()
    assert len(by_post.json()["data"]["orders"]["nodes"]) == 1


async def test_operation_is_chosen_by_its_name(server: Server, shop: Tenant) -> None:
    document = "query A { a: __typename } query B { b: __typename }"

    answer = await server.http.post("/graphql", json={"query": document, "operationName": "B"})

    assert answer.json() == {"data": {"b": "Query"}}


async def test_mutation_over_get_is_refused_and_changes_nothing(server: Server, shop: Tenant) -> None:
    (order,) = await shop.orders(1)
    document = f'mutation {{ updateOrder(input: {{ orderId: "{order.id}", city: "Cali" }}) {{ __typename }} }}'

    answer = await server.http.get("/graphql", params={"query": document}, headers=credentials(shop))

    assert problem(answer) == (400, "BAD_REQUEST")
    read = await server.ask("{ orders { nodes { city } } }", headers=credentials(shop))
    assert read["data"]["orders"]["nodes"] == [{"city": order.city}]


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_subscription_over_http_is_refused_without_a_fault(server: Server, method: str) -> None:
    logged = len(server.log.read_text())
    request = {"query": 'subscription { robotJobProgress(jobId: "x") { id } }'}

    if method == "GET":
        answer = await server.http.get("/graphql", params=request)
    else:
        answer = await server.http.post("/graphql", json=request)

    assert problem(answer) == (400, "BAD_REQUEST")
    assert "Traceback" not in server.log.read_text()[logged:]


# ---------------------------------------------------------------------------------------------- bad requests


def with_query(**rest: bytes) -> bytes:
    return b'{"query": "{ __typename }"' + b"".join(b', "%s": %s' % (k.encode(), v) for k, v in rest.items()) + b"}"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"5", id="number"),
        pytest.param(b"null", id="null"),
        pytest.param(b"true", id="boolean"),
        pytest.param(b"[]", id="empty list"),
        pytest.param(b"[5]", id="list of a number"),
        pytest.param(b'"x"', id="string"),
        pytest.param(b"{", id="half an object"),
        pytest.param(b"\xff\xfe\xfd", id="bad UTF-8"),
        pytest.param(DEEP, id="deep"),
        pytest.param(MANY_DIGITS, id="many digits"),
        pytest.param(b"{}", id="no query"),
        pytest.param(b'{"query": 5}', id="query is a number"),
        pytest.param(b'{"query": ""}', id="query is empty"),
        pytest.param(b'{"query": ' + DEEP + b"}", id="query is deep"),
        pytest.param(with_query(variables=b"5"), id="variables are a number"),
        pytest.param(with_query(variables=b"[]"), id="variables are a list"),
        pytest.param(with_query(variables=b'"x"'), id="variables are a string"),
        pytest.param(with_query(variables=b'{"a": ' + DEEP + b"}"), id="variables are deep"),
        pytest.param(with_query(variables=b'{"a": ' + MANY_DIGITS + b"}"), id="variables have many digits"),
        pytest.param(with_query(operationName=b"5"), id="operationName is a number"),
        pytest.param(with_query(operationName=b"[]"), id="operationName is a list"),
        pytest.param(with_query(operationName=b'"nope"'), id="operationName is unknown"),
        pytest.param(with_query(operationName=b'"\\ud800"'), id="operationName is half of a pair"),
        pytest.param(with_query(extensions=b"5"), id="extensions are a number"),
    ],
)
async def test_body_that_is_no_request_is_answered_with_one_graphql_error(
    server: Server, shop: Tenant, body: bytes
) -> None:
    headers = {**credentials(shop), "Content-Type": "application/json"}
    logged = len(server.log.read_text())

    answer = await server.http.post("/graphql", content=body, headers=headers)

    assert problem(answer) == (400, "BAD_REQUEST")
    assert server.log.read_text()[logged:] == ""


@pytest.mark.parametrize(
    "query", ["{", "{ nope }", "\ud800", "{a" * 10_000, "query ($first: Int = [[[ { x }"], ids=lambda query: query[:12]
)
async def test_document_that_is_no_graphql_is_answered_with_a_code(server: Server, query: str) -> None:
    answer = await server.http.post("/graphql", content=json.dumps({"query": query}), headers=JSON)

    assert answer.json()["errors"][0]["extensions"]["code"] in ("GRAPHQL_PARSE_FAILED", "GRAPHQL_VALIDATION_FAILED")


@pytest.mark.parametrize(
    "content_type", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "garbage;;;="]
)
async def test_other_content_types_are_refused(server: Server, content_type: str) -> None:
    body = json.dumps({"query": "{ __typename }"}).encode()

    answer = await server.http.post("/graphql", content=body, headers={"Content-Type": content_type})

    assert problem(answer) == (400, "BAD_REQUEST")


@pytest.mark.parametrize(
    "parameters",
    [{}, {"query": ""}, {"query": "{ __typename }", "variables": "5"}, {"query": "{ __typename }", "variables": "["}],
)
async def test_get_that_is_no_request_is_answered_with_one_graphql_error(
    server: Server, parameters: dict[str, str]
) -> None:
    answer = await server.http.get("/graphql", params=parameters)

    assert problem(answer) == (400, "BAD_REQUEST")


# ---------------------------------------------------------------------------------------------- the body's limit


async def test_body_of_exactly_the_limit_is_taken_and_one_byte_more_is_refused(server: Server) -> None:
    just_right = json.dumps({"query": "{ __typename }", "pad": ""}).encode()
    just_right = just_right[:-2] + b"x" * (1_000_000 - len(just_right)) + just_right[-2:]

    taken = await server.http.post("/graphql", content=just_right, headers=JSON)
    refused = await server.http.post("/graphql", content=b" " + just_right, headers=JSON)

    assert taken.json() == {"data": {"__typename": "Query"}}
    assert problem(refused) == (413, "BODY_TOO_LARGE")


@pytest.mark.parametrize("size", [3_000_000, 25_000_000])
async def test_client_that_sends_too_much_in_chunks_gets_the_answer(server: Server, size: int) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(size // 100_000):
            yield b" " * 100_000

    answer = await server.http.post("/graphql", content=chunks(), headers=JSON)

    assert "transfer-encoding" in answer.request.headers
    assert problem(answer) == (413, "BODY_TOO_LARGE")


async def test_ten_megabytes_in_one_string_are_refused(server: Server, shop: Tenant) -> None:
    request = {"query": ORDERS, "variables": {"first": "x" * 10_000_000}}

    answer = await server.http.post("/graphql", json=request, headers=credentials(shop))

    assert problem(answer) == (413, "BODY_TOO_LARGE")


# ---------------------------------------------------------------------------------------------- browsers


@pytest.fixture(scope="module")
async def strict_server(served_urls: DatabaseUrls) -> AsyncIterator[Server]:
    """One origin may call it; no GraphiQL; tokens must name issuer and audience."""
    settings = settings_for(served_urls) | {
        "ROBOT_JOBS_ALLOWED_ORIGINS": f"{ORIGIN}, https://other.example",
        "ROBOT_JOBS_GRAPHIQL": "false",
        "ROBOT_JOBS_MAX_BODY_BYTES": "2000",
        "ROBOT_JOBS_JWT_ISSUER": "https://login.example",
        "ROBOT_JOBS_JWT_AUDIENCE": "robot-jobs",
    }
    async with running_server(**settings) as server:
        yield server


def preflight(origin: str) -> dict[str, str]:
    return {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type,x-workspace-id",
    }


async def test_pages_of_listed_origins_may_call(strict_server: Server) -> None:
    asked = await strict_server.http.options("/graphql", headers=preflight(ORIGIN))
    answered = await strict_server.http.post(
        "/graphql", json={"query": "{ __typename }"}, headers={"Origin": "https://other.example"}
    )

    assert asked.status_code == 200
    assert asked.headers["access-control-allow-origin"] == ORIGIN
    assert "x-workspace-id" in asked.headers["access-control-allow-headers"].lower()
    assert answered.headers["access-control-allow-origin"] == "https://other.example"


async def test_pages_of_other_origins_may_not(strict_server: Server, server: Server) -> None:
    for called in (strict_server, server):
        asked = await called.http.options("/graphql", headers=preflight("https://evil.example"))
        answered = await called.http.post(
            "/graphql", json={"query": "{ __typename }"}, headers={"Origin": "https://evil.example"}
        )

        assert "access-control-allow-origin" not in asked.headers
        assert "access-control-allow-origin" not in answered.headers


async def test_refusal_of_a_body_can_be_read_by_the_page(strict_server: Server) -> None:
    answer = await strict_server.http.post("/graphql", content=b" " * 2_001, headers={**JSON, "Origin": ORIGIN})

    assert problem(answer) == (413, "BODY_TOO_LARGE")
    assert answer.headers["access-control-allow-origin"] == ORIGIN


async def test_sockets_open_to_the_same_and_to_listed_origins_only(strict_server: Server) -> None:
    for origin in (strict_server.url, ORIGIN):
        async with raw_socket(strict_server, origin=Origin(origin)):
            pass

    with pytest.raises(InvalidStatus) as refused:
        async with raw_socket(strict_server, origin=Origin("https://evil.example")):
            pass
    assert refused.value.response.status_code == 403


async def test_browser_gets_graphiql_and_a_program_does_not(server: Server) -> None:
    page = await server.http.get("/graphql", headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    answer = await server.http.get("/graphql", headers={"Accept": "*/*"})

    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    asset = page.text.partition('src="')[2].partition('"')[0]
    assert (await server.http.get(f"/{asset}")).status_code == 200
    assert problem(answer) == (400, "BAD_REQUEST")


async def test_graphiql_can_be_switched_off(strict_server: Server) -> None:
    page = await strict_server.http.get("/graphql", headers={"Accept": "text/html"})

    assert problem(page) == (400, "BAD_REQUEST")
    assert (await strict_server.http.get("/graphiql/index.html")).status_code == 404


# ---------------------------------------------------------------------------------------------- who asks


async def code_of(server: Server, headers: dict[str, str]) -> str:
    answer: Any = await server.ask("{ orders { nodes { id } } }", headers=headers)
    if "errors" not in answer:
        return "OK"
    assert answer["data"] is None
    return str(answer["errors"][0]["extensions"]["code"])


async def test_good_token_is_let_in_and_others_are_not(server: Server, shop: Tenant) -> None:
    good = credentials(shop)
    authorization = good["Authorization"]

    assert await code_of(server, good) == "OK"
    assert await code_of(server, {}) == "UNAUTHENTICATED"
    for bad in ("", "Bearer", "Bearer x.y.z", authorization.replace("Bearer", "Basic"), f"Bearer {'x' * 20_000}"):
        assert await code_of(server, good | {"Authorization": bad}) == "UNAUTHENTICATED"
    assert await code_of(server, credentials(shop, lifetime_s=-60)) == "UNAUTHENTICATED"


async def test_issuer_and_audience_are_asked_for(strict_server: Server, shop: Tenant) -> None:
    def with_token(issuer: str | None, audience: str | None) -> dict[str, str]:
        made = Tokens(SECRET, issuer, audience).make(shop.user(Role.VIEWER), lifetime=dt.timedelta(hours=1))
        return {"Authorization": f"Bearer {made}"}

    assert await code_of(strict_server, with_token("https://login.example", "robot-jobs")) == "OK"
    for issuer, audience in ((None, "robot-jobs"), ("https://login.example", None), ("x", "robot-jobs")):
        assert await code_of(strict_server, with_token(issuer, audience)) == "UNAUTHENTICATED"
