"""The robot's side of the contract: claim, renew, mark; and what people do about jobs that robots work on."""

import datetime as dt
import uuid
from functools import partial
from typing import Annotated, Self

import strawberry

import domain.accounts
import domain.carrier_configs
import domain.claims
import domain.credentials
import domain.robot_jobs
from domain.carriers import Carrier
from domain.errors import DomainError
from domain.robot_jobs import ClaimedItems, ClaimPurpose, HeldBack, HeldLease, LeaseState, ReleaseReason, ReleaseState
from domain.robot_jobs.leases import LEASES_AT_ONCE
from schema.access import OPERATORS, REPORTERS, ROBOTS, mutation, transaction
from schema.carrier_configs import CredentialKeysMissing, CredentialsUnreadable
from schema.context import Info
from schema.errors import InvalidInput
from schema.ids import parse_id
from schema.robot_jobs.errors import (
    InvalidTransition,
    LeaseLost,
    NumberAlreadyReserved,
    OrderShippedMeanwhile,
    OutcomeNotOpen,
    RobotJobItemNotFound,
    RobotJobNotFound,
    StaleAttempt,
)
from schema.robot_jobs.types import RobotJob, RobotJobItem


@strawberry.type(description="What logs in at the carrier's portal, for as long as the leases last.  Never keep it.")
class CarrierCredentials:
    username: str = strawberry.field(description="Of the portal.")
    password: str = strawberry.field(description="Of the portal.")

    def __repr__(self) -> str:
        """Without the password."""
        return f"CarrierCredentials(username={self.username!r})"

    @classmethod
    def from_domain(cls, credentials: domain.credentials.CarrierCredentials) -> Self:
        return cls(username=credentials.username, password=credentials.password)


@strawberry.type(description="An item that is yours until the lease expires.")
class ClaimedItem:
    item: RobotJobItem = strawberry.field(description="The item; `valueSent` is what to type, `attempt` to report.")
    lease_token: strawberry.ID = strawberry.field(description="Shows that the lease is yours.")
    expires_at: dt.datetime = strawberry.field(
        description="By the database's clock; by yours count `leaseSeconds` from when you asked."
    )

    @classmethod
    def from_domain(cls, item: domain.robot_jobs.RobotJobItem) -> Self:
        if item.lease_token is None or item.lease_expires_at is None:
            raise TypeError(f"item {item.id} was claimed without a lease")
        return cls(
            item=RobotJobItem.from_domain(item),
            lease_token=strawberry.ID(str(item.lease_token)),
            expires_at=item.lease_expires_at,
        )


@strawberry.input(description="What to claim.")
class ClaimJobItemsInput:
    carrier: Carrier = strawberry.field(description="For whose portal.")
    limit: int = strawberry.field(default=1, description=f"How many items at most, 1 to {LEASES_AT_ONCE}.")
    lease_seconds: int = strawberry.field(
        default=300, description="How long they are yours unless you renew, 30 to 3,600."
    )
    claim_id: strawberry.ID | None = strawberry.field(
        default=None,
        description="A UUID of yours for this claim.  The same again, when no answer came, is answered with the same "
        "items, their leases renewed, unless you have submitted them; what the first brought waits for nobody then.",
    )
    purpose: ClaimPurpose = strawberry.field(default=ClaimPurpose.SHIP, description="What you want to do with them.")


@strawberry.type(description="What was claimed; perhaps nothing.")
class ClaimJobItemsSuccess:
    workspace_id: strawberry.ID | None = strawberry.field(
        description="Of all the items; name it in X-Workspace-Id when you renew, mark, report and release.  Null when "
        "nothing was claimed."
    )
    items: list[ClaimedItem] = strawberry.field(description="Those of the oldest jobs first.")
    credentials: CarrierCredentials | None = strawberry.field(
        description="Of the account; null when nothing was claimed, or when no password is kept."
    )
    held_back: HeldBack | None = strawberry.field(
        description="Why there is less than was asked for, though more may wait; null when there is no more."
    )
    lease_seconds: int = strawberry.field(description="How long the leases are.")

    @classmethod
    def from_domain(cls, claim: domain.claims.Claim | None, workspace_id: uuid.UUID | None, lease_seconds: int) -> Self:
        """None: no workspace has anything to claim now."""
        return cls(
            workspace_id=strawberry.ID(str(workspace_id)) if workspace_id is not None else None,
            items=[ClaimedItem.from_domain(item) for item in claim.claimed.items] if claim is not None else [],
            credentials=CarrierCredentials.from_domain(claim.credentials)
            if claim is not None and claim.credentials is not None
            else None,
            held_back=claim.claimed.held_back if claim is not None else None,
            lease_seconds=lease_seconds,
        )


@strawberry.input(description="A lease that you hold.")
class LeaseInput:
    item_id: strawberry.ID = strawberry.field(description="Of which item.")
    lease_token: strawberry.ID = strawberry.field(description="As it was claimed.")

    def to_domain(self, path: str = "") -> HeldLease:
        return HeldLease(parse_id(f"{path}itemId", self.item_id), parse_id(f"{path}leaseToken", self.lease_token))


@strawberry.input(description="A lease that you hold, of the item that you are about to submit.")
class MarkItemSubmittingInput(LeaseInput):
    reserved_number: str | None = strawberry.field(
        default=None,
        description="The portal's number that the order goes under, up to 100 characters: by it a parcel of which "
        "nobody knows is looked up.  No two tries with one account get the same.",
    )


@strawberry.input(description="Leases to give back.")
class ReleaseJobItemsInput:
    leases: list[LeaseInput] = strawberry.field(
        description=f"1 to {LEASES_AT_ONCE} of them, of shipments and of look-ups."
    )
    reason: ReleaseReason = strawberry.field(description="Why.")
    message: str | None = strawberry.field(
        default=None, description="What the portal said, up to 500 characters; shown while the account pauses."
    )
    retry_after_seconds: int = strawberry.field(
        default=60, description="When a look-up may be claimed again, 0 to 86,400."
    )


@strawberry.type(description="What became of a lease that was given back.")
class ReleasedLease:
    item_id: strawberry.ID = strawberry.field(description="The item.")
    state: ReleaseState = strawberry.field(description="What became of it.")


@strawberry.type(description="What became of each, in the order given.")
class ReleaseJobItemsSuccess:
    leases: list[ReleasedLease] = strawberry.field(description="One answer each.")


@strawberry.input(description="Leases to renew.")
class RenewLeasesInput:
    leases: list[LeaseInput] = strawberry.field(description=f"1 to {LEASES_AT_ONCE} of them.")
    lease_seconds: int = strawberry.field(default=300, description="How long from now, 30 to 3,600.")


@strawberry.type(description="What to do with an item.")
class RenewedLease:
    item_id: strawberry.ID = strawberry.field(description="The item.")
    state: LeaseState = strawberry.field(description="What to do.")
    expires_at: dt.datetime | None = strawberry.field(description="The new deadline, if you are to go on.")


@strawberry.type(description="What to do with each, in the order asked.")
class RenewLeasesSuccess:
    leases: list[RenewedLease] = strawberry.field(description="One answer each.")


@strawberry.type(description="The item is marked: press the button now, and report what comes.")
class MarkItemSubmittingSuccess:
    item: RobotJobItem = strawberry.field(description="The item.")


@strawberry.input(description="A job to cancel.")
class CancelRobotJobInput:
    job_id: strawberry.ID = strawberry.field(description="The job.")
    reason: str | None = strawberry.field(default=None, description="Why, up to 2,000 characters; kept as its error.")


@strawberry.type(description="Nothing more of the job is begun.")
class CancelRobotJobSuccess:
    job: RobotJob = strawberry.field(
        description="CANCELLED; or still PROCESSING, with `cancelRequestedAt`, until what was submitted is finished."
    )


@strawberry.input(description="The parcel was found.")
class FoundParcelInput:
    tracking_number: str = strawberry.field(description="Its pedido number.")


@strawberry.input(description="What was found out; either `found` or `confirmedAbsent`.")
class ResolveUnknownOutcomeInput:
    item_id: strawberry.ID = strawberry.field(description="The item.")
    found: FoundParcelInput | None = strawberry.field(default=None, description="There is a parcel.")
    confirmed_absent: bool = strawberry.field(default=False, description="It is sure that there is none.")
    attempt: int | None = strawberry.field(
        default=None,
        description="In which attempt, as you looked it up: what is said of an older one opens no way for a newer.  "
        "The current one, if left out.",
    )
    reason: str = strawberry.field(description="How that is known, in 3 to 500 characters; kept with the attempt.")


@strawberry.type(description="It is settled.")
class ResolveUnknownOutcomeSuccess:
    item: RobotJobItem = strawberry.field(description="A success; or an error that may be retried.")
    job: RobotJob = strawberry.field(description="The job after it.")
    replayed: bool = strawberry.field(description="The same was said before; nothing changed now.")


ClaimJobItemsResult = Annotated[
    ClaimJobItemsSuccess | CredentialKeysMissing | CredentialsUnreadable | InvalidInput,
    strawberry.union("ClaimJobItemsResult", description="Of claimJobItems."),
]
RenewLeasesResult = Annotated[
    RenewLeasesSuccess | InvalidInput, strawberry.union("RenewLeasesResult", description="Of renewLeases.")
]
ReleaseJobItemsResult = Annotated[
    ReleaseJobItemsSuccess | InvalidInput, strawberry.union("ReleaseJobItemsResult", description="Of releaseJobItems.")
]
MarkItemSubmittingResult = Annotated[
    MarkItemSubmittingSuccess | LeaseLost | OrderShippedMeanwhile | NumberAlreadyReserved | InvalidInput,
    strawberry.union("MarkItemSubmittingResult", description="Of markItemSubmitting."),
]
CancelRobotJobResult = Annotated[
    CancelRobotJobSuccess | RobotJobNotFound | InvalidTransition | InvalidInput,
    strawberry.union("CancelRobotJobResult", description="Of cancelRobotJob."),
]
ResolveUnknownOutcomeResult = Annotated[
    ResolveUnknownOutcomeSuccess | RobotJobItemNotFound | OutcomeNotOpen | StaleAttempt | InvalidInput,
    strawberry.union("ResolveUnknownOutcomeResult", description="Of resolveUnknownOutcome."),
]


async def _claim(
    info: Info, asked: ClaimJobItemsInput, workspace_id: uuid.UUID | None, claim_id: uuid.UUID | None
) -> tuple[uuid.UUID, domain.claims.Claim]:
    """In which workspace, and what; a transaction of its own."""
    async with transaction(info, workspace_id) as work:
        claim = await domain.claims.claim_with_credentials(
            work.connection,
            info.context.key_ring,
            asked.carrier,
            workspace_id=work.membership.workspace_id,
            claimed_by=work.membership.user_id,
            purpose=asked.purpose,
            claim_id=claim_id,
            limit=asked.limit,
            lease_s=asked.lease_seconds,
            breaker=info.context.breaker,
        )
        for job in claim.claimed.jobs:
            work.announce(job)
    return work.membership.workspace_id, claim


async def _pass_by(info: Info, carrier: Carrier, workspace_id: uuid.UUID) -> None:
    async with transaction(info, workspace_id) as work:
        await domain.accounts.pass_by(work.connection, workspace_id, carrier)


@strawberry.type
class LeaseMutations:
    @mutation(
        "Lease pending items of a carrier, those of the oldest jobs first, with the login for its portal; or items "
        "with an unknown outcome, to look them up.  One account has no more leases at once than its config allows.  A "
        "key of the installation that names no workspace serves them in turn.  Each read of a password is recorded.",
        roles=ROBOTS,
    )
    async def claim_job_items(
        self,
        info: Info,
        input: Annotated[ClaimJobItemsInput, strawberry.argument(description="What.")],  # noqa: A002
    ) -> ClaimJobItemsResult:
        claim_id = parse_id("claimId", input.claim_id) if input.claim_id is not None else None
        domain.robot_jobs.check_claim(limit=input.limit, lease_s=input.lease_seconds)
        list_in_turn = partial(
            domain.robot_jobs.list_workspaces_in_turn,
            carrier=input.carrier,
            lookups=input.purpose is ClaimPurpose.LOOK_UP,
            claim_id=claim_id,
        )
        claimed: domain.claims.Claim | None = None
        refusal: DomainError | None = None
        for workspace_id in await info.context.workspaces_in_turn(list_in_turn):
            try:
                claimed_in, claimed = await _claim(info, input, workspace_id, claim_id)
            except (domain.credentials.CredentialsUnreadable, domain.carrier_configs.CredentialKeysMissing) as error:
                refusal = error  # that shop must wait, but no other
            except domain.carrier_configs.CarrierConfigDisabled:  # this very moment; the next claim says so
                claimed = domain.claims.Claim(ClaimedItems([], [], HeldBack.CARRIER_DISABLED), None)
            else:
                if claimed.claimed.items:
                    info.context.answer_in(claimed_in)
                    return ClaimJobItemsSuccess.from_domain(claimed, claimed_in, input.lease_seconds)
            if workspace_id is not None:
                await _pass_by(info, input.carrier, workspace_id)
        if refusal is not None and claimed is None:
            raise refusal
        return ClaimJobItemsSuccess.from_domain(claimed, None, input.lease_seconds)

    @mutation(
        "Keep leases for longer, and hear what to do with each item: go on, stop, or let go of what is lost.",
        roles=ROBOTS,
    )
    async def renew_leases(
        self,
        info: Info,
        input: Annotated[RenewLeasesInput, strawberry.argument(description="The leases.")],  # noqa: A002
    ) -> RenewLeasesResult:
        async with transaction(info) as work:
            renewed = await domain.robot_jobs.renew_leases(
                work.connection,
                [lease.to_domain(f"leases.{number}.") for number, lease in enumerate(input.leases)],
                lease_s=input.lease_seconds,
            )
        return RenewLeasesSuccess(
            leases=[
                RenewedLease(item_id=strawberry.ID(str(each.item_id)), state=each.state, expires_at=each.expires_at)
                for each in renewed
            ]
        )

    @mutation(
        "Give back what you have not submitted: the items are pending again at the same attempt, and look-ups can be "
        "claimed again.  What you met at the portal may pause the account.",
        roles=ROBOTS,
    )
    async def release_job_items(
        self,
        info: Info,
        input: Annotated[ReleaseJobItemsInput, strawberry.argument(description="The leases.")],  # noqa: A002
    ) -> ReleaseJobItemsResult:
        async with transaction(info) as work:
            released = await domain.robot_jobs.release_job_items(
                work.connection,
                [lease.to_domain(f"leases.{number}.") for number, lease in enumerate(input.leases)],
                reason=input.reason,
                message=input.message,
                retry_after_s=input.retry_after_seconds,
                breaker=info.context.breaker,
            )
        return ReleaseJobItemsSuccess(
            leases=[ReleasedLease(item_id=strawberry.ID(str(each.item_id)), state=each.state) for each in released]
        )

    @mutation(
        "Say that you are about to press the portal's button, and wait for the answer before you do: only a success "
        "allows it.  From then on nobody else tries before it is known what came.  The same again is answered alike.",
        roles=ROBOTS,
    )
    async def mark_item_submitting(
        self,
        info: Info,
        input: Annotated[MarkItemSubmittingInput, strawberry.argument(description="Your lease.")],  # noqa: A002
    ) -> MarkItemSubmittingResult:
        async with transaction(info) as work:
            item = await domain.robot_jobs.mark_item_submitting(
                work.connection, input.to_domain(), reserved_number=input.reserved_number
            )
        return MarkItemSubmittingSuccess(item=RobotJobItem.from_domain(item))

    @mutation(
        "Cancel a job: what was not submitted is cancelled, and robots hear it at their next renewal; what was is "
        "finished and counts.  Again changes nothing.",
        roles=OPERATORS,
    )
    async def cancel_robot_job(
        self,
        info: Info,
        input: Annotated[CancelRobotJobInput, strawberry.argument(description="The job.")],  # noqa: A002
    ) -> CancelRobotJobResult:
        async with transaction(info) as work:
            job = await domain.robot_jobs.cancel_robot_job(
                work.connection,
                parse_id("jobId", input.job_id),
                cancelled_by=work.membership.user_id,
                reason=input.reason,
            )
            work.announce(job)
        return CancelRobotJobSuccess(job=RobotJob.from_domain(job))

    @mutation(
        "Settle whether there is a parcel, for an item whose outcome is unknown, or that did not succeed and is "
        "flagged for review.  Found, it is a success; absent, it may be retried.  Who said so and why is kept.",
        roles=REPORTERS,
    )
    async def resolve_unknown_outcome(
        self,
        info: Info,
        input: Annotated[ResolveUnknownOutcomeInput, strawberry.argument(description="What is known.")],  # noqa: A002
    ) -> ResolveUnknownOutcomeResult:
        async with transaction(info) as work:
            resolved = await domain.robot_jobs.resolve_unknown_outcome(
                work.connection,
                parse_id("itemId", input.item_id),
                reason=input.reason,
                resolved_by=work.membership.user_id,
                tracking_number=input.found.tracking_number if input.found is not None else None,
                confirmed_absent=input.confirmed_absent,
                attempt=input.attempt,
            )
            if isinstance(resolved, domain.robot_jobs.ResolvedOutcome) and not resolved.replayed:
                work.announce(resolved.job)
        if isinstance(resolved, domain.robot_jobs.StaleAttempt):
            return StaleAttempt.from_domain(resolved)
        return ResolveUnknownOutcomeSuccess(
            item=RobotJobItem.from_domain(resolved.item),
            job=RobotJob.from_domain(resolved.job),
            replayed=resolved.replayed,
        )
