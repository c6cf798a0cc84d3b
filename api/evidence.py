"""Evidence over HTTP: robots put the bytes, members of the workspace get them.  Refusals look as those of /graphql."""

import datetime as dt
import json
import logging
import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from api.bodies import Body
from api.graphql import Endpoint, Router, not_allowed, refusal_response
from api.requests import JSON, Refusal, content_type_of
from api.settings import Settings
from domain.errors import DomainError, invalid
from domain.evidence import (
    BYTES_AT_MOST,
    ContentType,
    Evidence,
    EvidenceLost,
    EvidenceNotFound,
    EvidenceStore,
    NewEvidence,
    StoreUnavailable,
    find_same_evidence,
    get_evidence,
    record_evidence,
)
from domain.robot_jobs import RobotJobItemNotFound
from schema.access import READERS, REPORTERS
from schema.context import Context
from schema.errors import ErrorCode
from schema.ids import find_id
from schema.robot_jobs import EVIDENCE_PATH

PREFIX = f"{EVIDENCE_PATH}/"

logger = logging.getLogger("robot_jobs.evidence")

_STATUS = {
    ErrorCode.UNAUTHENTICATED: 401,
    ErrorCode.FORBIDDEN: 403,
    ErrorCode.NOT_A_MEMBER: 403,
    ErrorCode.ROBOT_JOB_ITEM_NOT_FOUND: 404,
    ErrorCode.EVIDENCE_NOT_FOUND: 404,
    ErrorCode.EVIDENCE_LOST: 410,
    ErrorCode.TOO_MUCH_EVIDENCE: 409,
    ErrorCode.INVALID_INPUT: 422,
}
_TEXTS = (ContentType.TEXT, ContentType.HTML)
# Whatever is in there, it runs nothing and is kept nowhere.
_ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Cache-Control": "private, no-store",
}


class EvidenceEndpoints:
    """`PUT /evidence/{itemId}/{attempt}` and `GET /evidence/{id}`."""

    def __init__(self, settings: Settings, router: Router, store: EvidenceStore) -> None:
        self._router = router
        self._store = store
        self._timeout_s = settings.body_timeout_s
        days = settings.evidence_retention_days
        self._kept_for = dt.timedelta(days=days) if days else None

    def routes(self) -> list[Route]:
        return [
            Route(f"{EVIDENCE_PATH}/{{item_id}}/{{attempt}}", Endpoint(self._put)),
            Route(f"{EVIDENCE_PATH}/{{evidence_id}}", Endpoint(self._get)),
        ]

    async def _put(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._serve("PUT", self._keep, scope, receive, send)

    async def _get(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._serve("GET", self._show, scope, receive, send)

    async def _serve(
        self,
        method: str,
        answer: Callable[[Request, Body], Awaitable[Response]],
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        """Who asks is looked at before anything is read of what they send."""
        body = Body(receive, max_bytes=BYTES_AT_MOST, timeout_s=self._timeout_s)
        try:
            if scope["method"] == method:
                response = await self._router.guarded(answer(Request(scope), body))
            else:
                response = refusal_response(not_allowed(scope["method"], method))
            await body.drop()
        except Refusal as too_slow:
            response = refusal_response(too_slow)
        except ClientDisconnect:
            return
        await response(scope, receive, send)

    async def _keep(self, request: Request, body: Body) -> Response:
        """201 and the new id, or 200 and the one that the same bytes have already."""
        context = await self._router.admitted(request)
        content_type = _content_type(request)
        content = await body.read()
        try:
            item_id, attempt = _place(request)
            new = NewEvidence.of(item_id, attempt, content_type, content)
            async with context.reading(REPORTERS) as work:
                kept = await find_same_evidence(work.connection, new)
            if kept is None:
                kept = await self._store_and_record(context, new)
        except DomainError as error:
            raise _refusal(error) from error
        status = 201 if kept.id == new.id else 200
        headers = {"Location": f"{PREFIX}{kept.id}"}
        return Response(json.dumps({"id": str(kept.id)}), status, headers=headers, media_type=JSON)

    async def _store_and_record(self, context: Context, new: NewEvidence) -> Evidence:
        """The bytes first: a crash in between leaves bytes without a row, which a sweep removes."""
        async with _store_in_reach():
            await self._store.put(new.id, new.content)
        recorded = None
        try:
            async with context.transaction(REPORTERS) as work:
                recorded = await record_evidence(
                    work.connection, new, created_by=work.membership.user_id, kept_for=self._kept_for
                )
        except DomainError:
            await self._forget(new)
            raise
        if recorded.id != new.id:  # the same came meanwhile
            await self._forget(new)
        return recorded

    async def _forget(self, new: NewEvidence) -> None:
        """At once if that can be; else a sweep will."""
        try:
            await self._store.remove([new.id])
        except StoreUnavailable as error:
            logger.warning("evidence %s was not recorded, and could not be removed yet: %s", new.id, error)

    async def _show(self, request: Request, _: Body) -> Response:
        context = await self._router.admitted(request)
        evidence_id = find_id(request.path_params["evidence_id"])
        try:
            if evidence_id is None:
                raise EvidenceNotFound
            async with context.reading(READERS) as work:
                found = await get_evidence(work.connection, evidence_id)
            async with _store_in_reach():
                content = await self._store.open(found.id)
            if content is None:
                raise EvidenceLost
        except DomainError as error:
            raise _refusal(error) from error
        return Response(content, headers=_headers(found))


def _content_type(request: Request) -> ContentType:
    accepted = ", ".join(ContentType)
    media_type = content_type_of(request)
    try:
        return ContentType(media_type)
    except ValueError:
        message = f"Evidence is one of {accepted}."
        raise Refusal(415, message, headers={"Accept": accepted}) from None


def _place(request: Request) -> tuple[uuid.UUID, int]:
    item_id, attempt = request.path_params["item_id"], request.path_params["attempt"]
    found = find_id(item_id)
    if found is None:
        raise RobotJobItemNotFound(item_id[:40])
    if not _NUMBER.fullmatch(attempt):
        raise invalid("attempt", f"must be a number from 1 on; it is {attempt[:20]!r}.")
    return found, int(attempt)


_NUMBER = re.compile(r"[0-9]{1,10}", re.ASCII)


def _headers(found: Evidence) -> dict[str, str]:
    is_text = found.content_type in _TEXTS
    headers = {"Content-Type": f"{found.content_type}; charset=utf-8" if is_text else found.content_type.value}
    if found.content_type is ContentType.HTML:
        headers["Content-Disposition"] = f'attachment; filename="{found.id}.html"'
    return headers | _ALWAYS


def _refusal(error: DomainError) -> Refusal:
    code = ErrorCode(error.code)
    headers = {"WWW-Authenticate": "Bearer"} if code is ErrorCode.UNAUTHENTICATED else None
    return Refusal(_STATUS.get(code, 400), error.message, code, headers=headers, facts=dict(error.facts))


@asynccontextmanager
async def _store_in_reach() -> AsyncIterator[None]:
    try:
        yield
    except StoreUnavailable as error:
        logger.exception("the store of evidence does not work")
        message = "The store of evidence cannot be used now; try again in a moment."
        raise Refusal(503, message, ErrorCode.SERVICE_UNAVAILABLE) from error
