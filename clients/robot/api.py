"""The robot's side of the API as typed calls; an answer that is an error of a union is a value here, too."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from clients.robot import documents
from clients.robot.carrier import PageEvidence
from clients.robot.leases import Lease, LeaseState
from clients.robot.transport import ApiRefused, Transport

RESULTS_AT_ONCE = 50


class Purpose(StrEnum):
    SHIP = "SHIP"
    LOOK_UP = "LOOK_UP"


class ReleaseReason(StrEnum):
    STOPPING = "STOPPING"
    LOGIN_REFUSED = "LOGIN_REFUSED"
    PORTAL_UNAVAILABLE = "PORTAL_UNAVAILABLE"
    NOT_SETTLED = "NOT_SETTLED"


class ReleaseState(StrEnum):
    RELEASED = "RELEASED"
    SUBMITTED = "SUBMITTED"
    LOST = "LOST"


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error of a union."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Credentials:
    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedItem:
    item_id: str
    attempt: int
    lease_token: str
    claimed_at: dt.datetime
    """By the API's clock."""
    order: Mapping[str, Any]
    """The API's `valueSent`: what is typed."""
    reserved_number: str | None
    submitted_at: dt.datetime | None
    error_type: str | None

    @property
    def reference(self) -> str:
        """As it is typed, and as the portal's list may show it."""
        return str(self.order.get("referencia", ""))

    @classmethod
    def read(cls, claimed: Mapping[str, Any], *, lease_s: int) -> "ClaimedItem":
        item = claimed["item"]
        return cls(
            item_id=item["id"],
            attempt=item["attempt"],
            lease_token=claimed["leaseToken"],
            claimed_at=_time(claimed["expiresAt"]) - dt.timedelta(seconds=lease_s),
            order=item["valueSent"] or {},
            reserved_number=item["reservedNumber"],
            submitted_at=_time(item["submittedAt"]) if item["submittedAt"] is not None else None,
            error_type=item["errorType"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """All items are of one workspace and one account."""

    workspace_id: str | None
    items: list[ClaimedItem]
    credentials: Credentials | None
    held_back: str | None
    asked_at: float
    lease_s: int


class RobotApi:
    """`workspace_id`: the only one that is claimed from; None leaves it to the key."""

    def __init__(self, transport: Transport, carrier: str, *, workspace_id: str | None = None) -> None:
        self._transport, self._carrier, self._workspace_id = transport, carrier.upper(), workspace_id

    async def claim(self, purpose: Purpose, *, claim_id: str, limit: int, lease_s: int) -> Claim | Refusal:
        """Waits for an API that is away until the robot stops.  Under the same id the same items come again."""
        asked = {"carrier": self._carrier, "limit": limit, "leaseSeconds": lease_s, "purpose": purpose}
        asked["claimId"] = claim_id
        answer = await self._transport.ask(documents.CLAIM, {"input": asked}, workspace_id=self._workspace_id)
        claim = answer.data["claimJobItems"]
        if claim["__typename"] != "ClaimJobItemsSuccess":
            return _refusal(claim)
        login = claim["credentials"]
        return Claim(
            workspace_id=claim["workspaceId"],
            items=[ClaimedItem.read(each, lease_s=claim["leaseSeconds"]) for each in claim["items"]],
            credentials=Credentials(login["username"], login["password"]) if login is not None else None,
            held_back=claim["heldBack"],
            asked_at=answer.asked_at,
            lease_s=claim["leaseSeconds"],
        )

    async def renew(self, leases: Sequence[Lease], within_s: float) -> None:
        """Writes into each what is answered; all are of one workspace.  Raises ApiUnreachable."""
        lease_s = int(leases[0].lease_s)
        asked = {"leases": [_lease_input(each) for each in leases], "leaseSeconds": lease_s}
        answer = await self._transport.ask(
            documents.RENEW, {"input": asked}, workspace_id=leases[0].workspace_id, within_s=within_s
        )
        renewed = answer.data["renewLeases"]
        if renewed["__typename"] != "RenewLeasesSuccess":
            raise _refused(renewed)
        for lease, told in zip(leases, renewed["leases"], strict=True):
            lease.state = LeaseState(told["state"])
            if lease.state is LeaseState.GO_ON:
                lease.asked_at = answer.asked_at

    async def mark(self, lease: Lease, *, reserved_number: str) -> Refusal | None:
        """None: it is marked.  Asks until answered or the lease is over.  Raises ApiUnreachable."""
        asked = _lease_input(lease) | {"reservedNumber": reserved_number}
        answer = await self._transport.ask(
            documents.MARK, {"input": asked}, workspace_id=lease.workspace_id, within_s=max(lease.left_s, 0)
        )
        marked = answer.data["markItemSubmitting"]
        return None if marked["__typename"] == "MarkItemSubmittingSuccess" else _refusal(marked)

    async def release(
        self,
        leases: Sequence[tuple[str, str]],
        *,
        workspace_id: str | None,
        reason: str,
        message: str | None,
        retry_after_s: int | None,
        within_s: float | None,
    ) -> list[ReleaseState]:
        """Each lease is an item id and its token.  Raises ApiUnreachable."""
        asked = {
            "leases": [{"itemId": item_id, "leaseToken": token} for item_id, token in leases],
            "reason": reason,
            "message": message,
        } | ({"retryAfterSeconds": retry_after_s} if retry_after_s is not None else {})
        answer = await self._transport.ask(
            documents.RELEASE, {"input": asked}, workspace_id=workspace_id, within_s=within_s
        )
        released = answer.data["releaseJobItems"]
        if released["__typename"] != "ReleaseJobItemsSuccess":
            raise _refused(released)
        return [ReleaseState(each["state"]) for each in released["leases"]]

    async def report(self, results: Sequence[Mapping[str, Any]], *, workspace_id: str | None) -> list[Refusal | None]:
        """One answer each, None for what is recorded.  Waits for an API that is away until the robot stops."""
        asked = {"results": [dict(each) for each in results]}
        answer = await self._transport.ask(documents.REPORT, asked, workspace_id=workspace_id)
        reported = answer.data["updateJobItemResults"]
        if reported["__typename"] != "UpdateJobItemResultsSuccess":
            raise _refused(reported)
        return [
            None if each["__typename"] == "UpdateJobItemResultSuccess" else _refusal(each)
            for each in reported["results"]
        ]

    async def resolve(
        self, item_id: str, attempt: int, *, workspace_id: str | None, found: str | None, reason: str, within_s: float
    ) -> Refusal | None:
        """Found under that number, or confirmed absent.  None: it is settled."""
        asked = {
            "itemId": item_id,
            "attempt": attempt,
            "found": {"trackingNumber": found} if found is not None else None,
            "confirmedAbsent": found is None,
            "reason": reason,
        }
        answer = await self._transport.ask(
            documents.RESOLVE, {"input": asked}, workspace_id=workspace_id, within_s=within_s
        )
        resolved = answer.data["resolveUnknownOutcome"]
        return None if resolved["__typename"] == "ResolveUnknownOutcomeSuccess" else _refusal(resolved)

    async def has_own_reference(self, item: ClaimedItem, *, workspace_id: str | None, within_s: float) -> bool:
        """A shop may have the same reference typed for all its orders; then it tells nothing about this one."""
        answer = await self._transport.ask(
            documents.ORDER_REFERENCE, {"itemId": item.item_id}, workspace_id=workspace_id, within_s=within_s
        )
        found = answer.data["robotJobItem"]
        return found is not None and found["order"]["reference"].split() == item.reference.split()

    async def put_evidence(self, item_id: str, attempt: int, page: PageEvidence, *, workspace_id: str | None) -> None:
        await self._transport.put(
            f"evidence/{item_id}/{attempt}", page.content, content_type=page.content_type, workspace_id=workspace_id
        )


def _lease_input(lease: Lease) -> dict[str, Any]:
    return {"itemId": lease.item_id, "leaseToken": lease.token}


def _refusal(answer: Mapping[str, Any]) -> Refusal:
    """Of InvalidInput every problem."""
    problems = "; ".join(f"{problem['path']} {problem['message']}" for problem in answer.get("problems", ()))
    return Refusal(answer["code"], problems or answer["message"])


def _refused(answer: Mapping[str, Any]) -> ApiRefused:
    refusal = _refusal(answer)
    return ApiRefused(refusal.code, refusal.message)


def _time(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)
