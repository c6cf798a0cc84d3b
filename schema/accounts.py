"""Why robots leave an account alone, and how people let them try again."""

import datetime as dt
from typing import Annotated, Self

import strawberry

import domain.accounts
from domain.accounts import PauseReason
from domain.carriers import Carrier
from schema.access import OPERATORS, mutation, transaction
from schema.context import Info
from schema.errors import Error, ErrorCode, InvalidInput


@strawberry.type(
    description="Robots leave the account alone: nothing is claimed but single items that show whether all is well."
)
class AccountPause:
    reason: PauseReason = strawberry.field(description="What happened.")
    message: str = strawberry.field(description="What the portal said.")
    since: dt.datetime = strawberry.field(description="Since when.")
    probe_at: dt.datetime | None = strawberry.field(
        description="From then on a single item is tried; null: not before the login was changed, or somebody resumes."
    )

    @classmethod
    def from_domain(cls, pause: domain.accounts.AccountPause) -> Self:
        return cls(reason=pause.reason, message=pause.message, since=pause.since, probe_at=pause.probe_at)


async def pause_of(info: Info, carrier: Carrier) -> AccountPause | None:
    """The pause of the workspace's account there; one statement however many ask."""
    found = await info.context.loaders.pauses.load(carrier)
    return AccountPause.from_domain(found) if found is not None else None


@strawberry.type(description="Robots are not kept from the account.")
class AccountNotPaused(Error):
    @classmethod
    def from_domain(cls, error: domain.accounts.AccountNotPaused) -> Self:
        return cls(code=ErrorCode.ACCOUNT_NOT_PAUSED, message=error.message)


@strawberry.input(description="An account that robots leave alone.")
class ResumeCarrierAccountInput:
    carrier: Carrier = strawberry.field(description="At whose portal.")


@strawberry.type(description="A single item is tried now; when that goes well, the pause is over.")
class ResumeCarrierAccountSuccess:
    pause: AccountPause = strawberry.field(description="The pause, until then.")


ResumeCarrierAccountResult = Annotated[
    ResumeCarrierAccountSuccess | AccountNotPaused | InvalidInput,
    strawberry.union("ResumeCarrierAccountResult", description="Of resumeCarrierAccount."),
]


@strawberry.type
class AccountMutations:
    @mutation(
        "Let robots try a single item at once with an account that they leave alone.  A portal locks an account whose "
        "login is wrong: set the right password first.",
        roles=OPERATORS,
    )
    async def resume_carrier_account(
        self,
        info: Info,
        input: Annotated[ResumeCarrierAccountInput, strawberry.argument(description="Which.")],  # noqa: A002
    ) -> ResumeCarrierAccountResult:
        async with transaction(info) as work:
            pause = await domain.accounts.resume_carrier_account(work.connection, input.carrier)
        return ResumeCarrierAccountSuccess(pause=AccountPause.from_domain(pause))
