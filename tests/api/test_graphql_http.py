"""GraphQL over HTTP: what is answered to whom, and to those who send what is no GraphQL request."""

import asyncio
import datetime as dt
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin

from api.app import create_app
from api.database import DatabaseUrls
from api.settings import load_settings
from api.tokens import Tokens
from domain.api_keys import make_secret, revoke_api_key
from domain.workspaces import Role
from tests.servers import PATIENCE_S, SECRET, Server, credentials, raw_socket, running_server, settings_for
from tests.tenants import Tenant

JSON = {"Content-Type": "application/json"}
ORIGIN = "https://shop.example"
DEEP = b"[" * 100_000 + b"]" * 100_000
MANY_DIGITS = b"1" * 5_000
ORDERS = "query ($first: Int) { orders(first: $first) { nodes { id } } }"


STRICT = "application/graphql-response+json"


def problem(answer: httpx.Response) -> tuple[int, str]:
    """The status and the code of an answer that is one GraphQL error, and JSON."""
    assert answer.headers["content-type"] in ("application/json", STRICT)
    assert set(answer.json()) == {"errors"}, "a request that was refused has no data, not even null"
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
    request = {"query": document, "operationName": "B"}

    answer = await server.http.post("/graphql", json=request, headers=credentials(shop))

    assert answer.json() == {"data": {"b": "Query"}}


async def test_mutation_over_get_is_refused_and_changes_nothing(server: Server, shop: Tenant) -> None:
    (order,) = await shop.orders(1)
    document = f'mutation {{ updateOrder(input: {{ orderId: "{order.id}", city: "Cali" }}) {{ __typename }} }}'

    answer = await server.http.get("/graphql", params={"query": document}, headers=credentials(shop))

    assert problem(answer) == (405, "BAD_REQUEST")
    assert answer.headers["allow"] == "POST"
    read = await server.ask("{ orders { nodes { city } } }", headers=credentials(shop))
    assert read["data"]["orders"]["nodes"] == [{"city": order.city}]


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_subscription_over_http_is_refused_without_a_fault(server: Server, shop: Tenant, method: str) -> None:
    logged = len(server.log.read_text())
    request = {"query": 'subscription { robotJobProgress(jobId: "x") { id } }'}

    if method == "GET":
        answer = await server.http.get("/graphql", params=request, headers=credentials(shop))
    else:
        answer = await server.http.post("/graphql", json=request, headers=credentials(shop))

    assert problem(answer) == (400, "BAD_REQUEST")
    assert "Traceback" not in server.log.read_text()[logged:]


# ---------------------------------------------------------------------------------------------- the answer's form


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        (None, "application/json"),
        ("", "application/json"),
        ("*/*", "application/json"),
        ("application/*", "application/json"),
        ("application/json", "application/json"),
        ("application/json; charset=utf-8", "application/json"),
        ("application/json, */*", "application/json"),
        ("text/html, application/json;q=0.9", "application/json"),
        (STRICT, STRICT),
        (f"{STRICT}, application/json", STRICT),
        (f"application/json, {STRICT}", STRICT),
        (f"{STRICT}, application/json;q=0.9", STRICT),
        (f"{STRICT};q=0.5, application/json", "application/json"),
        (f"{STRICT};q=0, */*", "application/json"),
        ("application/json;q=0, */*", STRICT),
        (f"{STRICT}, application/graphql+json, application/json, text/event-stream, multipart/mixed", STRICT),
        (f"{STRICT.upper()} ; q=1.0", STRICT),
    ],
)
async def test_answer_has_the_media_type_that_is_liked_best(
    server: Server, shop: Tenant, accept: str | None, media_type: str
) -> None:
    headers = httpx.Headers(credentials(shop) | ({"Accept": accept} if accept is not None else {}))
    request = server.http.build_request("POST", "/graphql", json={"query": "{ __typename }"}, headers=headers)
    if accept is None:
        del request.headers["accept"]

    answer = await server.http.send(request)

    assert answer.status_code == 200
    assert answer.headers["content-type"] == media_type
    assert answer.json() == {"data": {"__typename": "Query"}}


@pytest.mark.parametrize("accept", ["text/html", "multipart/mixed", "application/xml;q=1", "*/*;q=0", "nonsense"])
async def test_who_takes_no_media_type_of_ours_is_told_so(server: Server, shop: Tenant, accept: str) -> None:
    headers = credentials(shop) | {"Accept": accept}

    answer = await server.http.post("/graphql", json={"query": "{ __typename }"}, headers=headers)

    assert problem(answer) == (406, "BAD_REQUEST")


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({"query": "{"}, "GRAPHQL_PARSE_FAILED"),
        ({"query": "\ud800"}, "GRAPHQL_PARSE_FAILED"),
        ({"query": "{a" * 10_000}, "QUERY_TOO_COMPLEX"),
        ({"query": "query ($first: Int = [[[ { x }"}, "GRAPHQL_PARSE_FAILED"),
        ({"query": "{ nope }"}, "GRAPHQL_VALIDATION_FAILED"),
        ({"query": "{ robotJobs(first: 100) { nodes { items { nodes { id } } } } }"}, "QUERY_TOO_COMPLEX"),
        ({"query": ORDERS, "variables": {"first": "x"}}, "GRAPHQL_VALIDATION_FAILED"),
        ({"query": "query ($id: ID!) { order(id: $id) { id } }"}, "GRAPHQL_VALIDATION_FAILED"),
        ({"query": "query A { a: __typename } query B { b: __typename }"}, "BAD_REQUEST"),
        ({"query": "query A { a: __typename }", "operationName": "B"}, "BAD_REQUEST"),
        ({"query": "query A { a: __typename }", "operationName": "\ud800"}, "BAD_REQUEST"),
        ({"query": "fragment F on Query { a: __typename }"}, "BAD_REQUEST"),
    ],
)
async def test_request_that_cannot_be_executed_is_a_400_in_the_newer_media_type(
    server: Server, shop: Tenant, request_: dict[str, object], code: str
) -> None:
    """And a 200 in the older one, as its specification has it: the request was well-formed."""
    body = json.dumps(request_)

    strict = await server.http.post("/graphql", content=body, headers=credentials(shop) | JSON | {"Accept": STRICT})
    older = await server.http.post("/graphql", content=body, headers=credentials(shop) | JSON)

    assert problem(strict) == (400, code)
    assert problem(older) == (200, code)


async def test_error_in_execution_is_a_200_with_data(server: Server, shop: Tenant) -> None:
    headers = credentials(shop) | {"Accept": STRICT}

    answer = await server.http.post("/graphql", json={"query": ORDERS, "variables": {"first": -1}}, headers=headers)

    assert answer.status_code == 200
    assert answer.json()["data"] is None
    assert answer.json()["errors"][0]["extensions"]["code"] == "INVALID_INPUT"


# ---------------------------------------------------------------------------------------------- batches


async def test_batch_is_answered_in_order_and_each_sees_what_the_one_before_has_done(
    server: Server, shop: Tenant
) -> None:
    (order,) = await shop.orders(1)
    change = "mutation ($input: UpdateOrderInput!) { updateOrder(input: $input) { __typename } }"
    batch: list[dict[str, object]] = []
    for city in ("Cali", "Pasto"):
        batch.append({"query": change, "variables": {"input": {"orderId": str(order.id), "city": city}}})
        batch.append({"query": "{ orders { nodes { city } } }"})

    answer = await server.http.post("/graphql", json=batch, headers=credentials(shop))

    assert answer.status_code == 200
    assert [each["data"] for each in answer.json()] == [
        {"updateOrder": {"__typename": "UpdateOrderSuccess"}},
        {"orders": {"nodes": [{"city": "Cali"}]}},
        {"updateOrder": {"__typename": "UpdateOrderSuccess"}},
        {"orders": {"nodes": [{"city": "Pasto"}]}},
    ]


async def test_what_is_refused_of_a_batch_leaves_the_others_their_answers(server: Server, shop: Tenant) -> None:
    queries = ["{ a: __typename }", "{ nope }", 'subscription { robotJobProgress(jobId: "x") { id } }', "{", ORDERS]

    answer = await server.http.post("/graphql", json=[{"query": each} for each in queries], headers=credentials(shop))

    codes = [each["errors"][0]["extensions"]["code"] if "errors" in each else "OK" for each in answer.json()]
    assert codes == ["OK", "GRAPHQL_VALIDATION_FAILED", "BAD_REQUEST", "GRAPHQL_PARSE_FAILED", "OK"]


async def test_batch_over_the_limit_is_one_error_and_does_nothing(server: Server, shop: Tenant) -> None:
    (order,) = await shop.orders(1)
    change = f'mutation {{ updateOrder(input: {{ orderId: "{order.id}", city: "Cali" }}) {{ __typename }} }}'

    just_right = await server.http.post("/graphql", json=[{"query": "{ __typename }"}] * 10, headers=credentials(shop))
    refused = await server.http.post("/graphql", json=[{"query": change}] * 11, headers=credentials(shop))

    assert just_right.json() == [{"data": {"__typename": "Query"}}] * 10
    assert problem(refused) == (400, "TOO_MANY_OPERATIONS")
    read = await server.ask("{ orders { nodes { city } } }", headers=credentials(shop))
    assert read["data"]["orders"]["nodes"] == [{"city": order.city}]


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
        pytest.param(b'{"query": "{ a }", "query": "{ b }"}', id="query twice"),
        pytest.param(with_query(variables=b'{"a": {"b": 1, "b": 2}}'), id="a variable's key twice"),
        pytest.param(with_query(variables=b'{"a": NaN}'), id="variables are not a number"),
        pytest.param(with_query(variables=b'{"a": -Infinity}'), id="variables are infinite"),
        pytest.param(b'{"query": "{ \x00 }"}', id="a bare NUL"),
        pytest.param('{"query": "{ __typename }"}'.encode("utf-16"), id="UTF-16"),
        pytest.param(b'[{"query": "{ __typename }"}, 5]', id="half a batch"),
        pytest.param(b'[{"query": "{ __typename }"}, [{"query": "{ __typename }"}]]', id="a batch in a batch"),
        pytest.param(b"query={__typename}", id="a form"),
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
    assert "sys." not in answer.text
    assert server.log.read_text()[logged:] == ""


async def test_a_byte_order_mark_is_overlooked(server: Server, shop: Tenant) -> None:
    body = b"\xef\xbb\xbf" + with_query()

    answer = await server.http.post("/graphql", content=body, headers=credentials(shop) | JSON)

    assert answer.json() == {"data": {"__typename": "Query"}}


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": ""},
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/graphql"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "multipart/form-data; boundary=x"},
        {"Content-Type": "garbage;;;="},
        {"Content-Type": "application/json; charset=latin-1"},
        {"Content-Type": "application/json", "Content-Encoding": "gzip"},
    ],
)
async def test_other_content_types_are_refused(server: Server, shop: Tenant, headers: dict[str, str]) -> None:
    answer = await server.http.post("/graphql", content=with_query(), headers=credentials(shop) | headers)

    assert problem(answer) == (415, "BAD_REQUEST")


@pytest.mark.parametrize(
    "content_type", ["application/json; charset=UTF-8", "Application/JSON", 'application/json;charset="utf-8"']
)
async def test_content_type_is_read_as_the_standard_has_it(server: Server, shop: Tenant, content_type: str) -> None:
    headers = credentials(shop) | {"Content-Type": content_type}

    assert (await server.http.post("/graphql", content=with_query(), headers=headers)).status_code == 200


@pytest.mark.parametrize(
    "address",
    ["", "?query=", "?query={__typename}&variables=5", "?query={__typename}&variables=[", "?query={a}&query={b}",
     "?query={__typename}&variables={\"a\":1,\"a\":2}", "?query={__typename}&extensions=[]"],
)  # fmt: skip
async def test_get_that_is_no_request_is_answered_with_one_graphql_error(
    server: Server, shop: Tenant, address: str
) -> None:
    answer = await server.http.get(f"/graphql{address}", headers=credentials(shop))

    assert problem(answer) == (400, "BAD_REQUEST")


async def test_empty_parameters_are_as_good_as_none(server: Server, shop: Tenant) -> None:
    parameters = {"query": "{ __typename }", "variables": "", "operationName": "", "extensions": "", "other": "x"}

    answer = await server.http.get("/graphql", params=parameters, headers=credentials(shop))

    assert answer.json() == {"data": {"__typename": "Query"}}


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY"])
async def test_other_methods_are_refused_with_those_that_are_allowed(server: Server, method: str) -> None:
    answer = await server.http.request(method, "/graphql")

    assert problem(answer) == (405, "BAD_REQUEST")
    assert answer.headers["allow"] == "GET, POST"


async def test_other_addresses_are_answered_in_graphqls_shape(server: Server) -> None:
    for path in ("/", "/nope", "/graphql/nope", "/graphiql/nope", "/health/nope"):
        assert problem(await server.http.post(path, json={}))[0] in (404, 405)
        assert problem(await server.http.get(path)) == (404, "BAD_REQUEST")
    elsewhere = await server.http.get("/graphql/", headers={"Host": "evil.example"})
    assert problem(elsewhere) == (404, "BAD_REQUEST"), "nobody is led to where a header says"


# ---------------------------------------------------------------------------------------------- the body's limit


async def test_body_of_exactly_the_limit_is_taken_and_one_byte_more_is_refused(server: Server, shop: Tenant) -> None:
    just_right = json.dumps({"query": "{ __typename }", "pad": ""}).encode()
    just_right = just_right[:-2] + b"x" * (1_000_000 - len(just_right)) + just_right[-2:]

    taken = await server.http.post("/graphql", content=just_right, headers=credentials(shop) | JSON)
    refused = await server.http.post("/graphql", content=b" " + just_right, headers=credentials(shop) | JSON)

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


async def test_body_that_does_not_arrive_in_time_is_given_up(strict_server: Server) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", strict_server.port)
    writer.write(b"POST /graphql HTTP/1.1\r\nHost: here\r\nContent-Length: 1000\r\n\r\n{")

    async with asyncio.timeout(PATIENCE_S):
        answer = (await reader.read()).decode()  # to its end: the connection is closed

    writer.close()
    assert answer.startswith("HTTP/1.1 408 ")
    assert "The body has not arrived within 1 s." in answer


async def test_ten_megabytes_in_one_string_are_refused(server: Server, shop: Tenant) -> None:
    request = {"query": ORDERS, "variables": {"first": "x" * 10_000_000}}

    answer = await server.http.post("/graphql", json=request, headers=credentials(shop))

    assert problem(answer) == (413, "BODY_TOO_LARGE")


# ---------------------------------------------------------------------------------------------- faults


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [(RuntimeError("s3cret"), 500, "INTERNAL_ERROR"), (ConnectionResetError("s3cret"), 503, "SERVICE_UNAVAILABLE")],
)
@pytest.mark.parametrize("place", ["api.graphql.read_request", "api.graphql.asks_for_graphiql"])
async def test_fault_outside_of_any_operation_has_graphqls_shape_too(
    served_urls: DatabaseUrls,
    shop: Tenant,
    monkeypatch: pytest.MonkeyPatch,
    fault: Exception,
    status: int,
    code: str,
    place: str,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise fault

    monkeypatch.setattr(place, fail)
    app = create_app(load_settings(graphiql=True), served_urls, Tokens(SECRET))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://here") as http:
        answer = await http.post("/graphql", json={"query": "{ __typename }"}, headers=credentials(shop))

    assert problem(answer) == (status, code)
    assert "s3cret" not in answer.text


# ---------------------------------------------------------------------------------------------- browsers


@pytest.fixture(scope="module")
async def strict_server(served_urls: DatabaseUrls) -> AsyncIterator[Server]:
    """As in production; two origins may call it, not often, and tokens must name issuer and audience."""
    settings = settings_for(served_urls) | {
        "ROBOT_JOBS_REQUESTS_PER_MINUTE": "6",
        "ROBOT_JOBS_ALLOWED_ORIGINS": f"{ORIGIN}, https://other.example",
        "ROBOT_JOBS_MAX_BATCH": "0",
        "ROBOT_JOBS_MAX_BODY_BYTES": "2000",
        "ROBOT_JOBS_BODY_TIMEOUT_S": "1",
        "ROBOT_JOBS_JWT_ISSUER": "https://login.example",
        "ROBOT_JOBS_JWT_AUDIENCE": "robot-jobs",
    }
    for unset in ("ROBOT_JOBS_GRAPHIQL", "ROBOT_JOBS_INTROSPECTION"):
        del settings[unset]
    async with running_server(**settings) as server:
        yield server


def strict_credentials(
    shop: Tenant, issuer: str | None = "https://login.example", audience: str | None = "robot-jobs"
) -> dict[str, str]:
    made = Tokens(SECRET, issuer, audience).make(shop.user(Role.VIEWER), lifetime=dt.timedelta(hours=1))
    return {"Authorization": f"Bearer {made}"}


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
    assert problem(answer) == (401, "UNAUTHENTICATED")


async def test_production_shows_neither_graphiql_nor_the_schema(strict_server: Server, shop: Tenant) -> None:
    page = await strict_server.http.get("/graphql", headers={"Accept": "text/html"})
    asked = await strict_server.ask("{ __schema { queryType { name } } }", headers=strict_credentials(shop))
    guessed = await strict_server.ask("{ ordes { nodes { id } } }", headers=strict_credentials(shop))

    assert problem(page) == (406, "BAD_REQUEST")
    assert asked["errors"][0]["message"] == "Introspection is switched off here."
    assert guessed["errors"][0]["message"] == "Cannot query field 'ordes' on type 'Query'."
    assert (await strict_server.http.get("/graphiql/index.html")).status_code == 404


# ---------------------------------------------------------------------------------------------- who asks


async def code_of(server: Server, headers: dict[str, str]) -> str:
    answer: Any = await server.ask("{ orders { nodes { id } } }", headers=headers)
    if "errors" not in answer:
        return "OK"
    assert "data" not in answer
    return str(answer["errors"][0]["extensions"]["code"])


async def test_good_token_is_let_in_and_others_are_not(server: Server, shop: Tenant) -> None:
    good = credentials(shop)
    authorization = good["Authorization"]

    assert await code_of(server, good) == "OK"
    assert await code_of(server, {}) == "UNAUTHENTICATED"
    for bad in ("", "Bearer", "Bearer x.y.z", authorization.replace("Bearer", "Basic"), f"Bearer {'x' * 20_000}"):
        assert await code_of(server, good | {"Authorization": bad}) == "UNAUTHENTICATED"
    assert await code_of(server, credentials(shop, lifetime_s=-60)) == "UNAUTHENTICATED"


async def test_request_without_a_good_token_is_refused_before_anything_of_it_is_read(server: Server) -> None:
    """Whatever it asks: even what cannot be read, and what needs no member."""
    for body in (b"{", b"[]", with_query(), json.dumps({"query": "{"}).encode()):
        unnamed = await server.http.post("/graphql", content=body, headers=JSON)
        assert problem(unnamed) == (401, "UNAUTHENTICATED")
        assert unnamed.headers["www-authenticate"] == "Bearer"
        for token in ("x.y.z", make_secret()):
            bad = await server.http.post("/graphql", content=body, headers=JSON | {"Authorization": f"Bearer {token}"})
            assert problem(bad) == (401, "UNAUTHENTICATED")
            assert bad.headers["www-authenticate"] == 'Bearer error="invalid_token"'


async def test_key_that_was_good_a_moment_ago_opens_nothing_once_it_is_revoked(server: Server, shop: Tenant) -> None:
    created = await shop.key()
    headers = {"Authorization": f"Bearer {created.secret}"}
    before = await server.ask("{ orders { nodes { id } } }", headers=headers)
    async with shop.work(Role.ADMIN) as connection:
        await revoke_api_key(connection, created.api_key.id)

    after = await server.ask("{ orders { nodes { id } } }", headers=headers)

    assert "errors" not in before
    assert {error["extensions"]["code"] for error in after["errors"]} == {"UNAUTHENTICATED"}


async def test_made_up_keys_are_counted_together_however_many_they_are(strict_server: Server, shop: Tenant) -> None:
    async def answer_to(secret: str) -> tuple[int, str]:
        headers = {"Authorization": f"Bearer {secret}"}
        return problem(await strict_server.http.post("/graphql", json={"query": "{ __typename }"}, headers=headers))

    good = {"Authorization": f"Bearer {(await shop.key()).secret}"}
    await strict_server.ask("{ __typename }", headers=good)
    answers = [await answer_to(make_secret()) for _ in range(6)]

    assert answers[0] == (401, "UNAUTHENTICATED")
    assert answers[-1] == (429, "RATE_LIMITED")
    assert await strict_server.ask("{ __typename }", headers=good) == {"data": {"__typename": "Query"}}


async def test_issuer_and_audience_are_asked_for(strict_server: Server, shop: Tenant) -> None:
    assert await code_of(strict_server, strict_credentials(shop)) == "OK"
    for issuer, audience in ((None, "robot-jobs"), ("https://login.example", None), ("x", "robot-jobs")):
        assert await code_of(strict_server, strict_credentials(shop, issuer, audience)) == "UNAUTHENTICATED"


# ---------------------------------------------------------------------------------------------- how often


async def test_caller_who_asks_too_often_is_told_when_to_come_back(
    strict_server: Server, shop: Tenant, other_shop: Tenant
) -> None:
    """Whatever is sent counts, even what cannot be read; others are not held up."""
    headers = strict_credentials(shop)
    for body in (b"{", b"[]", with_query(), with_query(), with_query(), json.dumps({"query": "{"}).encode()):
        assert (await strict_server.http.post("/graphql", content=body, headers=headers | JSON)).status_code != 429

    refused = await strict_server.http.post("/graphql", content=b"{", headers=headers | JSON)
    over_address = await strict_server.http.get("/graphql", params={"query": "{ __typename }"}, headers=headers)

    assert problem(refused) == problem(over_address) == (429, "RATE_LIMITED")
    assert 1 <= int(refused.headers["retry-after"]) <= 10
    assert int(refused.headers["retry-after"]) == refused.json()["errors"][0]["extensions"]["retryAfterSeconds"]
    assert await code_of(strict_server, strict_credentials(other_shop)) == "OK"


async def test_batches_can_be_switched_off(strict_server: Server, shop: Tenant) -> None:
    batch = [{"query": "{ __typename }"}]

    answer = await strict_server.http.post("/graphql", json=batch, headers=strict_credentials(shop))

    assert problem(answer) == (400, "BAD_REQUEST")
