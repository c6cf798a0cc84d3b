"""The public API as typed calls: HTTP for questions and changes, one WebSocket for what is followed live.

A call whose connection is refused or cut is made again, for `patience_s` at most.  That is safe: a job is created once
per idempotency key, an item that is open again is not retried, and an import of the same lines changes nothing.
"""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from typing import Any, Self
from urllib.parse import urlsplit

from gql import Client, GraphQLRequest
from gql.client import AsyncClientSession
from gql.transport.exceptions import (
    TransportClosed,
    TransportConnectionFailed,
    TransportProtocolError,
    TransportQueryError,
    TransportServerError,
)
from gql.transport.httpx import HTTPXAsyncTransport
from gql.transport.websockets import WebsocketsTransport
from websockets.exceptions import ConnectionClosed, InvalidStatus

from clients.console import documents
from clients.console.answers import (
    Completion,
    CreatedJob,
    FailureGroup,
    ImportedOrders,
    ItemState,
    JobState,
    JobWithFailures,
    JobWithItems,
    KeyInUse,
    OrdersRefused,
    PreviewedOrder,
    RetriedItems,
)
from clients.console.outages import Outage, ServerUnreachable

HTTP_TIMEOUT_S = 30.0
_PREVIEWED_AT_ONCE = 2_000
_ITEMS_PER_PAGE = 1_000
_CUTS_WITHOUT_NEWS_AT_MOST = 50
_COMES_BACK = (502, 503, 504)
_CUT = (TransportConnectionFailed, TransportClosed, TransportServerError, TransportProtocolError, TimeoutError)


class ApiRefused(Exception):
    """The API said no, for a reason that trying again does not change.  `code` is for programs, the text for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class ApiClient:
    """One server, one user, one workspace, one carrier.  Use it as `async with`."""

    def __init__(
        self,
        url: str,
        token: str,
        *,
        carrier: str = "SANDBOX",
        workspace_id: str | None = None,
        patience_s: float = 30.0,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._url, self._carrier = url, carrier
        self._credentials = {"Authorization": f"Bearer {token}"}
        if workspace_id is not None:
            self._credentials["X-Workspace-Id"] = workspace_id
        # A proxy for the outer world has no business between two programs on one machine.
        self._is_local = urlsplit(url).hostname in ("127.0.0.1", "::1", "localhost")
        self._http = Client(
            transport=HTTPXAsyncTransport(
                url, headers=self._credentials, timeout=HTTP_TIMEOUT_S, trust_env=not self._is_local
            ),
            execute_timeout=None,
        )
        self._closing = AsyncExitStack()
        self._session: AsyncClientSession | None = None
        self._has_answered = False
        self._calls = Outage(
            cut="The server does not answer.", back="The server answers again", patience_s=patience_s, tell=tell
        )
        self._stream = Outage(
            cut="The live stream was cut.", back="The live stream goes on", patience_s=patience_s, tell=tell
        )

    async def __aenter__(self) -> Self:
        self._session = await self._closing.enter_async_context(self._http)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._closing.aclose()

    async def find_active_job(self) -> JobState | None:
        answer = (await self._execute(documents.ACTIVE_JOB, carrier=self._carrier))["activeRobotJob"]
        return JobState.read(answer) if answer is not None else None

    async def get_job(self, job_id: str) -> JobWithFailures:
        job = _found(job_id, (await self._execute(documents.JOB, jobId=job_id))["robotJob"])
        return JobWithFailures(JobState.read(job), [FailureGroup.read(group) for group in job["failures"]])

    async def get_job_with_items(self, job_id: str) -> JobWithItems:
        """The job as of its last page of items; the pages are one snapshot only while the job rests."""
        items: list[ItemState] = []
        references: dict[str, str] = {}
        unknown_ids: set[str] = set()
        after = None
        while True:
            answer = await self._execute(documents.JOB_ITEMS, jobId=job_id, first=_ITEMS_PER_PAGE, after=after)
            job = _found(job_id, answer["robotJob"])
            nodes = job["items"]["nodes"]
            items += [ItemState.read(node) for node in nodes]
            references |= {node["id"]: node["order"]["reference"] for node in nodes}
            unknown_ids |= {node["id"] for node in nodes if node["outcomeUnknown"]}
            if not job["items"]["pageInfo"]["hasNextPage"]:
                return JobWithItems(JobState.read(job), items, references, unknown_ids)
            after = job["items"]["pageInfo"]["endCursor"]

    async def import_orders(self, csv: str) -> ImportedOrders:
        answer = (await self._execute(documents.IMPORT_ORDERS, csv=csv))["importOrders"]
        if answer["__typename"] != "ImportOrdersSuccess":
            raise _refused(answer)
        return ImportedOrders.read(answer)

    async def preview_dispatch(self, order_ids: Sequence[str]) -> list[PreviewedOrder]:
        previewed: list[PreviewedOrder] = []
        for start in range(0, len(order_ids), _PREVIEWED_AT_ONCE):
            some = list(order_ids[start : start + _PREVIEWED_AT_ONCE])
            variables = {"carrier": self._carrier, "orderIds": some}
            answer = (await self._execute(documents.PREVIEW_DISPATCH, **variables))["previewDispatch"]
            previewed += [PreviewedOrder.read(order) for order in answer["orders"]]
        return previewed

    async def create_robot_job(
        self, order_ids: Sequence[str], *, idempotency_key: str
    ) -> CreatedJob | KeyInUse | OrdersRefused:
        variables = {"carrier": self._carrier, "orderIds": list(order_ids), "key": idempotency_key}
        answer = (await self._execute(documents.CREATE_JOB, **variables))["createRobotJob"]
        match answer["__typename"]:
            case "CreateRobotJobSuccess":
                return CreatedJob(JobState.read(answer["job"]))
            case "IdempotencyKeyInUse":
                return KeyInUse(JobState.read(answer["job"]))
            case "OrdersRefused":
                return OrdersRefused(
                    {
                        order["orderId"]: " ".join(problem["message"] for problem in order["problems"])
                        for order in answer["refused"]
                    }
                )
            case _:
                raise _refused(answer)

    async def retry_failed_items(self, job_id: str, item_ids: Sequence[str]) -> RetriedItems:
        """Open those again; called twice in a row, the second call finds the job open and says so."""
        answer = (await self._execute(documents.RETRY_FAILED, jobId=job_id, itemIds=list(item_ids)))["retryFailedItems"]
        match answer["__typename"]:
            case "RetryFailedItemsSuccess":
                skipped = [item["message"] for item in answer["skipped"]]
                return RetriedItems(JobState.read(answer["job"]), len(answer["items"]), skipped)
            case "ItemsNotRetryable":
                job = JobState.read(answer["job"])
                still_open = job.total_items - job.done_count
                return RetriedItems(job, still_open, [item["message"] for item in answer["refused"]])
            case _:
                raise _refused(answer)

    async def follow_completions(self, job_id: str, *, after: str = "0") -> AsyncGenerator[Completion]:
        """Each item as it is closed, until the job is finished and all has been told.

        After a cut connection the stream goes on from the last cursor seen.  Raises ServerUnreachable, ApiRefused.
        """
        cursor, cuts = after, 0
        while True:
            try:
                async with aclosing(self._subscribe(job_id, cursor)) as messages:
                    async for completion in messages:
                        cursor, cuts = completion.cursor, 0
                        yield completion
            except _CUT as error:
                _raise_if_final(error)
            except TransportQueryError as error:
                _raise_if_refused(error)
            else:
                # A server that stops may end its streams in good order: only the job knows whether that was all.
                if not (await self.get_job(job_id)).job.is_active:
                    return
            cuts += 1
            if cuts > _CUTS_WITHOUT_NEWS_AT_MOST:
                raise ServerUnreachable(f"The live stream was cut {cuts} times in a row; look at the server's log.")
            await self._stream.pause(cuts)

    async def _subscribe(self, job_id: str, after: str) -> AsyncGenerator[Completion]:
        url = "ws" + self._url.removeprefix("http")
        transport = WebsocketsTransport(
            url,
            init_payload=self._credentials,
            subprotocols=[WebsocketsTransport.GRAPHQLWS_SUBPROTOCOL],
            connect_args={"ping_interval": 5, "ping_timeout": 10} | ({"proxy": None} if self._is_local else {}),
        )
        request = GraphQLRequest(documents.FOLLOW_COMPLETIONS, variable_values={"jobId": job_id, "after": after})
        try:
            async with Client(transport=transport, execute_timeout=None) as session:
                self._stream.end()
                async with aclosing(session.subscribe(request)) as answers:
                    async for answer in answers:
                        yield Completion.read(answer["robotJobItemCompleted"])
        finally:
            # A connection that was refused after it had opened is left open by the library.
            await transport.adapter.close()

    async def _execute(self, document: GraphQLRequest, **variables: Any) -> dict[str, Any]:
        if self._session is None:
            raise RuntimeError("use the client as `async with`")
        request = GraphQLRequest(document, variable_values=variables)
        tries = 0
        while True:
            tries += 1
            try:
                answer: dict[str, Any] = await self._session.execute(request)
            except TransportQueryError as error:
                _raise_if_refused(error)
            except (TransportConnectionFailed, TransportServerError) as error:
                self._raise_if_unable(error)
            except TransportProtocolError:
                raise ApiRefused("BAD_REQUEST", f"What answers at {self._url} is not the API; check the URL.") from None
            else:
                self._has_answered = True
                self._calls.end()
                return answer
            await self._calls.pause(tries)

    def _raise_if_unable(self, error: TransportConnectionFailed | TransportServerError) -> None:
        """There is no use in waiting for a server that was never there, or for another answer of the same server."""
        if isinstance(error, TransportServerError):
            if error.code in _COMES_BACK:
                return
            if error.code in (401, 403):
                raise ApiRefused("UNAUTHENTICATED", "The server does not accept the token; get a new one.") from None
            raise ApiRefused("BAD_REQUEST", f"{self._url} answered with HTTP status {error.code}.") from None
        if not self._has_answered:
            raise ServerUnreachable(f"No server answers at {self._url}. Start it with `make run`, then try again.")


def _found(job_id: str, job: dict[str, Any] | None) -> dict[str, Any]:
    if job is None:
        raise ApiRefused("ROBOT_JOB_NOT_FOUND", f"There is no job {job_id} in this workspace any more.")
    return job


def _refused(answer: Mapping[str, Any]) -> ApiRefused:
    """An error of a union as one line."""
    problems = "; ".join(f"{problem['path']} {problem['message']}" for problem in answer.get("problems", ()))
    return ApiRefused(answer["code"], problems or answer["message"])


def _raise_if_refused(error: TransportQueryError) -> None:
    """Returns for what passes by itself.  Raises ApiRefused for the rest, from None: the text says it all."""
    first = (error.errors or [{"message": str(error)}])[0]
    code = first.get("extensions", {}).get("code", "INTERNAL_ERROR")
    if code != "SERVICE_UNAVAILABLE":
        raise ApiRefused(code, first["message"]) from None


def _raise_if_final(error: Exception) -> None:
    """Raises ApiRefused if the server closed the socket on purpose: a code of 4400 or more, or no handshake at all."""
    match error.__cause__:
        case ConnectionClosed(rcvd=close) if close is not None and close.code >= 4400:
            raise ApiRefused(f"CLOSED_{close.code}", close.reason or f"The stream was closed with code {close.code}.")
        case InvalidStatus(response=response) if response.status_code not in _COMES_BACK:
            raise ApiRefused(
                f"HTTP_{response.status_code}", f"The live stream was refused with HTTP status {response.status_code}."
            )
