"""Evidence over HTTP: who may put and get it, what is refused, and how it is served."""

import asyncio
import datetime as dt
import json
import re
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from api.database import DatabaseUrls
from domain.api_keys import revoke_api_key
from domain.base import new_id
from domain.evidence import list_evidence
from domain.robot_jobs import RobotJobItem
from domain.workspaces import Role
from tests.servers import PATIENCE_S, Server, credentials, running_server, settings_for
from tests.tenants import Tenant

PNG = {"Content-Type": "image/png"}
PICTURE = b"\x89PNG\r\n\x1a\n\x00 a picture"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("evidence")


@pytest.fixture(scope="module")
async def server(served_urls: DatabaseUrls, folder: Path) -> AsyncIterator[Server]:
    settings = {"ROBOT_JOBS_EVIDENCE_DIR": str(folder), "ROBOT_JOBS_ALLOWED_ORIGINS": "https://shop.example"}
    async with running_server(**settings_for(served_urls) | settings) as server:
        yield server


def file_of(folder: Path, evidence_id: str) -> Path:
    [path] = folder.rglob(evidence_id)
    return path


def files_in(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


def problem(answer: httpx.Response) -> tuple[int, str]:
    """As /graphql answers what it refuses as a whole."""
    assert answer.headers["content-type"] == "application/json"
    (error,) = answer.json()["errors"]
    assert set(answer.json()) == {"errors"}
    assert error["message"]
    return answer.status_code, error["extensions"]["code"]


async def put(
    server: Server,
    of: Tenant,
    item: RobotJobItem,
    content: bytes = PICTURE,
    *,
    attempt: object = 1,
    role: Role = Role.ROBOT,
    headers: dict[str, str] = PNG,
) -> httpx.Response:
    return await server.http.put(
        f"/evidence/{item.id}/{attempt}", content=content, headers=credentials(of, role) | headers
    )


async def put_id(server: Server, of: Tenant, item: RobotJobItem, content: bytes = PICTURE, **options: object) -> str:
    answer = await put(server, of, item, content, **options)  # type: ignore[arg-type]  # as they are there
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def get(server: Server, of: Tenant, evidence_id: object, *, role: Role = Role.VIEWER) -> httpx.Response:
    return await server.http.get(f"/evidence/{evidence_id}", headers=credentials(of, role))


# ---------------------------------------------------------------------------------------------- there and back


async def test_what_a_robot_puts_every_member_gets(server: Server, shop: Tenant) -> None:
    [item] = (await shop.job(items=1)).items

    answer = await put(server, shop, item)

    evidence_id = answer.json()["id"]
    assert (answer.status_code, answer.json()) == (201, {"id": evidence_id})
    assert answer.headers["location"] == f"/evidence/{evidence_id}"
    for role in Role:
        got = await get(server, shop, evidence_id, role=role)
        assert (got.status_code, got.content) == (200, PICTURE)
        assert got.headers["content-type"] == "image/png"


@pytest.mark.parametrize(
    ("sent", "served", "disposition"),
    [
        ("image/png", "image/png", None),
        ("image/jpeg", "image/jpeg", None),
        ("IMAGE/WEBP", "image/webp", None),
        ("text/plain", "text/plain; charset=utf-8", None),
        ("text/html; charset=UTF-8", "text/html; charset=utf-8", "attachment"),
        ("application/json", "application/json", None),
    ],
)
async def test_it_is_served_so_that_a_browser_runs_nothing_of_it(
    server: Server, shop: Tenant, sent: str, served: str, disposition: str | None
) -> None:
    [item] = (await shop.job(items=1)).items
    evidence_id = await put_id(server, shop, item, b"<script>alert(1)</script>", headers={"Content-Type": sent})

    got = await get(server, shop, evidence_id)

    assert got.headers["content-type"] == served
    assert got.headers["x-content-type-options"] == "nosniff"
    assert got.headers["content-security-policy"] == "sandbox; default-src 'none'"
    assert got.headers["cache-control"] == "private, no-store"
    assert got.headers.get("content-disposition", "").partition(";")[0] == (disposition or "")


async def test_the_same_bytes_again_are_answered_with_the_same_id_and_kept_once(
    server: Server, shop: Tenant, folder: Path
) -> None:
    [item] = (await shop.job(items=1)).items
    evidence_id = await put_id(server, shop, item)
    before = files_in(folder)

    again = await put(server, shop, item)

    assert (again.status_code, again.json()) == (200, {"id": evidence_id})
    assert files_in(folder) == before


async def test_the_same_bytes_at_once_leave_one_file(server: Server, shop: Tenant, folder: Path) -> None:
    [item] = (await shop.job(items=1)).items
    before = files_in(folder)

    answers = await asyncio.gather(*(put(server, shop, item) for _ in range(8)))

    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sorted(answer.status_code for answer in answers) == [200] * 7 + [201]
    assert len(files_in(folder) - before) == 1


async def test_a_robot_with_a_key_puts_and_gets(server: Server, shop: Tenant) -> None:
    [item] = (await shop.job(items=1)).items
    key = await shop.key()
    headers = {"Authorization": f"Bearer {key.secret}"}

    answer = await server.http.put(f"/evidence/{item.id}/1", content=PICTURE, headers=headers | PNG)

    assert answer.status_code == 201
    assert (await server.http.get(answer.headers["location"], headers=headers)).content == PICTURE
    async with shop.work(Role.ADMIN) as connection:
        await revoke_api_key(connection, key.api_key.id)
    assert problem(await server.http.get(answer.headers["location"], headers=headers)) == (401, "UNAUTHENTICATED")


async def test_two_million_bytes_are_taken_and_one_more_is_not(server: Server, shop: Tenant) -> None:
    [item] = (await shop.job(items=1)).items
    largest = bytes(2_000_000)

    evidence_id = await put_id(server, shop, item, largest)
    refused = await put(server, shop, item, largest + b"x")

    assert (await get(server, shop, evidence_id)).content == largest
    assert problem(refused) == (413, "BODY_TOO_LARGE")


async def test_it_is_kept_as_long_as_the_setting_says(server: Server, shop: Tenant) -> None:
    [item] = (await shop.job(items=1)).items
    await put(server, shop, item)

    async with shop.work() as connection:
        [kept] = (await list_evidence(connection, [item.id]))[item.id]
    assert kept.expires_at == kept.created_at + dt.timedelta(days=30)


# ---------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize("role", [Role.OPERATOR, Role.ADMIN, Role.ROBOT])
async def test_reporters_may_put(server: Server, shop: Tenant, role: Role) -> None:
    [item] = (await shop.job(items=1)).items

    assert (await put(server, shop, item, role=role)).status_code == 201


async def test_a_viewer_may_not_put(server: Server, shop: Tenant, folder: Path) -> None:
    [item] = (await shop.job(items=1)).items
    before = files_in(folder)

    assert problem(await put(server, shop, item, role=Role.VIEWER)) == (403, "FORBIDDEN")

    assert files_in(folder) == before
    assert (await shop.contents())["evidence"] == []


async def test_another_tenants_is_answered_byte_for_byte_as_one_that_does_not_exist(
    server: Server, shop: Tenant, other_shop: Tenant, folder: Path
) -> None:
    [foreign] = (await other_shop.job(items=1)).items
    evidence_id = await put_id(server, other_shop, foreign)
    before = files_in(folder)

    answers = [await get(server, shop, each, role=Role.ADMIN) for each in (evidence_id, new_id(), "no id")]
    assert problem(answers[0]) == (404, "EVIDENCE_NOT_FOUND")
    assert len({answer.content for answer in answers}) == 1
    assert len({tuple(answer.headers.multi_items()) for answer in map(without_date, answers)}) == 1

    refused = []
    for item_id in (foreign.id, new_id()):
        answer = await server.http.put(
            f"/evidence/{item_id}/1", content=PICTURE, headers=credentials(shop, Role.ROBOT) | PNG
        )
        assert problem(answer) == (404, "ROBOT_JOB_ITEM_NOT_FOUND")
        refused.append(answer.text.replace(str(item_id), "ID"))
    assert refused[0] == refused[1]
    assert files_in(folder) == before


def without_date(answer: httpx.Response) -> httpx.Response:
    answer.headers.pop("date", None)
    return answer


async def test_who_is_nobody_here_gets_nothing(server: Server, shop: Tenant, other_shop: Tenant) -> None:
    [item] = (await shop.job(items=1)).items
    evidence_id = await put_id(server, shop, item)
    stranger = credentials(other_shop) | {"X-Workspace-Id": str(shop.workspace_id)}
    address = f"/evidence/{evidence_id}"

    for headers, expected in (
        ({}, (401, "UNAUTHENTICATED")),
        ({"Authorization": "Bearer x.y.z"}, (401, "UNAUTHENTICATED")),
        ({"Authorization": "Bearer rjk_made_up"}, (401, "UNAUTHENTICATED")),
        (stranger, (403, "NOT_A_MEMBER")),
    ):
        assert problem(await server.http.get(address, headers=headers)) == expected
        answer = await server.http.put(f"/evidence/{item.id}/1", content=b"x" * 1_500_000, headers=headers | PNG)
        assert problem(answer) == expected
        if expected[0] == 401:
            assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    ("attempt", "said"),
    [("2", "has not begun"), ("0", "1 or more"), ("99999999999", "a number"), ("-1", "a number"), ("x", "a number")],
)
async def test_an_attempt_that_has_not_begun_is_refused(
    server: Server, shop: Tenant, folder: Path, attempt: str, said: str
) -> None:
    [item] = (await shop.job(items=1)).items
    before = files_in(folder)

    answer = await put(server, shop, item, attempt=attempt)

    assert problem(answer) == (422, "INVALID_INPUT")
    assert said in answer.text
    assert files_in(folder) == before


async def test_evidence_of_an_older_attempt_is_taken(server: Server, shop: Tenant) -> None:
    in_hand = await shop.job(items=1, failed=1)
    await shop.retry(in_hand.job.id)

    for attempt in (1, 2):
        assert (await put(server, shop, in_hand.items[0], attempt=attempt)).status_code == 201


async def test_ten_are_enough(server: Server, shop: Tenant, folder: Path) -> None:
    [item] = (await shop.job(items=1)).items
    for number in range(10):
        await put_id(server, shop, item, b"%d" % number)
    before = files_in(folder)

    assert problem(await put(server, shop, item)) == (409, "TOO_MUCH_EVIDENCE")
    assert files_in(folder) == before


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": ""},
        {"Content-Type": "image/svg+xml"},
        {"Content-Type": "application/octet-stream"},
        {"Content-Type": "text/html; charset=latin-1"},
        {"Content-Type": "image/png", "Content-Encoding": "gzip"},
    ],
)
async def test_other_content_types_are_refused(server: Server, shop: Tenant, headers: dict[str, str]) -> None:
    [item] = (await shop.job(items=1)).items

    assert problem(await put(server, shop, item, headers=headers)) == (415, "BAD_REQUEST")


async def test_nothing_is_no_evidence(server: Server, shop: Tenant) -> None:
    [item] = (await shop.job(items=1)).items

    assert problem(await put(server, shop, item, b"")) == (422, "INVALID_INPUT")


@pytest.mark.parametrize("size", [3_000_000, 25_000_000])
async def test_client_that_sends_too_much_in_chunks_gets_the_answer(server: Server, shop: Tenant, size: int) -> None:
    [item] = (await shop.job(items=1)).items

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(size // 100_000):
            yield b" " * 100_000

    answer = await server.http.put(
        f"/evidence/{item.id}/1", content=chunks(), headers=credentials(shop, Role.ROBOT) | PNG
    )

    assert problem(answer) == (413, "BODY_TOO_LARGE")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/evidence/{id}", "GET"),
        ("PUT", "/evidence/{id}", "GET"),
        ("DELETE", "/evidence/{id}", "GET"),
        ("GET", "/evidence/{id}/1", "PUT"),
        ("POST", "/evidence/{id}/1", "PUT"),
    ],
)
async def test_other_methods_are_refused_with_the_one_that_is_allowed(
    server: Server, method: str, path: str, allowed: str
) -> None:
    answer = await server.http.request(method, path.format(id=new_id()), content=b"x" * 500_000)

    assert problem(answer) == (405, "BAD_REQUEST")
    assert answer.headers["allow"] == allowed


async def test_no_name_from_outside_leads_to_a_file(server: Server, shop: Tenant, folder: Path) -> None:
    secret = folder / "secret"
    secret.write_text("s3cret")
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    headers = "".join(f"{name}: {value}\r\n" for name, value in credentials(shop).items())

    for path in ("/evidence/../secret", "/evidence/secret", "/evidence/..%2Fsecret", "/evidence/%2e%2e%2fsecret"):
        writer.write(f"GET {path} HTTP/1.1\r\nHost: here\r\n{headers}\r\n".encode())
        async with asyncio.timeout(PATIENCE_S):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = re.search(r"content-length: (\d+)", head)
            assert length
            body = await reader.readexactly(int(length[1]))
        assert head.startswith(("HTTP/1.1 404 ", "HTTP/1.1 405 "))
        assert set(json.loads(body)) == {"errors"}
    writer.close()


async def test_evidence_whose_file_is_gone_says_so(server: Server, shop: Tenant, folder: Path) -> None:
    [item] = (await shop.job(items=1)).items
    evidence_id = await put_id(server, shop, item)
    file_of(folder, evidence_id).unlink()

    assert problem(await get(server, shop, evidence_id)) == (410, "EVIDENCE_LOST")


async def test_a_browser_page_of_an_allowed_origin_may_get_it(server: Server, shop: Tenant) -> None:
    answer = await server.http.options(
        "/evidence/x",
        headers={
            "Origin": "https://shop.example",
            "Access-Control-Request-Method": "GET",
            "Access-Control-Request-Headers": "authorization,x-workspace-id",
        },
    )

    assert answer.headers["access-control-allow-origin"] == "https://shop.example"


# ---------------------------------------------------------------------------------------------- servers of their own


async def test_puts_count_as_operations_and_slow_ones_are_given_up(
    served_urls: DatabaseUrls, shop: Tenant, tmp_path: Path
) -> None:
    [item] = (await shop.job(items=1)).items
    settings = {
        "ROBOT_JOBS_EVIDENCE_DIR": str(tmp_path / "evidence"),
        "ROBOT_JOBS_REQUESTS_PER_MINUTE": "3",
        "ROBOT_JOBS_BODY_TIMEOUT_S": "1",
    }
    headers = "".join(f"{name}: {value}\r\n" for name, value in (credentials(shop, Role.ROBOT) | PNG).items())
    async with running_server(**settings_for(served_urls) | settings) as server:
        for who in (headers, ""):  # whoever it is
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(
                f"PUT /evidence/{item.id}/1 HTTP/1.1\r\nHost: here\r\n{who}Content-Length: 9\r\n\r\n{{".encode()
            )
            async with asyncio.timeout(PATIENCE_S):
                answer = (await reader.read()).decode()
            writer.close()
            assert answer.startswith("HTTP/1.1 408 ")
        evidence_id = await put_id(server, shop, item)
        limited = [await put(server, shop, item) for _ in range(3)][-1]
        assert problem(limited) == (429, "RATE_LIMITED")
        assert limited.headers["retry-after"]
        assert uuid.UUID(evidence_id)


async def test_a_store_that_does_not_work_is_said_and_nothing_is_recorded(
    served_urls: DatabaseUrls, shop: Tenant, tmp_path: Path
) -> None:
    [item] = (await shop.job(items=1)).items
    (tmp_path / "evidence").write_text("no folder")
    settings = {"ROBOT_JOBS_EVIDENCE_DIR": str(tmp_path / "evidence")}
    async with running_server(**settings_for(served_urls) | settings) as server:
        assert problem(await put(server, shop, item)) == (503, "SERVICE_UNAVAILABLE")

    assert (await shop.contents())["evidence"] == []
