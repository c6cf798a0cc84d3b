"""Errors as data: expected failures are members of each mutation's union, all with a code and a message."""

from enum import Enum
from typing import Any

import strawberry

import domain.errors
from domain.text import camel_case
from schema.enums import describe


class ErrorCode(Enum):
    """Every code that an error of the API can carry, as data or in `extensions.code`."""

    INVALID_INPUT = "INVALID_INPUT"
    ORDER_NOT_FOUND = "ORDER_NOT_FOUND"
    ORDERS_REFUSED = "ORDERS_REFUSED"
    ORDER_REFERENCE_TAKEN = "ORDER_REFERENCE_TAKEN"
    ROBOT_JOB_NOT_FOUND = "ROBOT_JOB_NOT_FOUND"
    ROBOT_JOB_ITEM_NOT_FOUND = "ROBOT_JOB_ITEM_NOT_FOUND"
    CARRIER_CONFIG_NOT_FOUND = "CARRIER_CONFIG_NOT_FOUND"
    IDEMPOTENCY_KEY_IN_USE = "IDEMPOTENCY_KEY_IN_USE"
    STALE_ATTEMPT = "STALE_ATTEMPT"
    RESULT_CONFLICT = "RESULT_CONFLICT"
    INVALID_TRANSITION = "INVALID_TRANSITION"
    ITEMS_NOT_RETRYABLE = "ITEMS_NOT_RETRYABLE"
    LEASE_LOST = "LEASE_LOST"
    ORDER_SHIPPED_MEANWHILE = "ORDER_SHIPPED_MEANWHILE"
    OUTCOME_NOT_OPEN = "OUTCOME_NOT_OPEN"
    NUMBER_ALREADY_RESERVED = "NUMBER_ALREADY_RESERVED"
    ACCOUNT_NOT_PAUSED = "ACCOUNT_NOT_PAUSED"
    CARRIER_CONFIG_DISABLED = "CARRIER_CONFIG_DISABLED"
    CARRIER_PASSWORD_MISSING = "CARRIER_PASSWORD_MISSING"  # noqa: S105 -- a code
    CREDENTIAL_KEYS_MISSING = "CREDENTIAL_KEYS_MISSING"
    CREDENTIALS_UNREADABLE = "CREDENTIALS_UNREADABLE"
    INVALID_CURSOR = "INVALID_CURSOR"
    CURSOR_EXPIRED = "CURSOR_EXPIRED"
    API_KEY_NOT_FOUND = "API_KEY_NOT_FOUND"
    TOO_MANY_API_KEYS = "TOO_MANY_API_KEYS"
    EVIDENCE_NOT_FOUND = "EVIDENCE_NOT_FOUND"
    EVIDENCE_LOST = "EVIDENCE_LOST"
    TOO_MUCH_EVIDENCE = "TOO_MUCH_EVIDENCE"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    NOT_A_MEMBER = "NOT_A_MEMBER"
    WORKSPACE_REQUIRED = "WORKSPACE_REQUIRED"
    FORBIDDEN = "FORBIDDEN"
    BAD_REQUEST = "BAD_REQUEST"
    BODY_TOO_LARGE = "BODY_TOO_LARGE"
    QUERY_TOO_COMPLEX = "QUERY_TOO_COMPLEX"
    TOO_MANY_OPERATIONS = "TOO_MANY_OPERATIONS"
    RATE_LIMITED = "RATE_LIMITED"
    GRAPHQL_PARSE_FAILED = "GRAPHQL_PARSE_FAILED"
    GRAPHQL_VALIDATION_FAILED = "GRAPHQL_VALIDATION_FAILED"
    SERVICE_UNAVAILABLE = "SERVICE_UNAVAILABLE"
    INTERNAL_ERROR = "INTERNAL_ERROR"


describe(
    ErrorCode,
    "ErrorCode",
    "What went wrong, for programs.  Errors in the data carry it as `code`, top-level errors as `extensions.code`.",
    INVALID_INPUT="An argument cannot be right; `problems` names each.",
    ORDER_NOT_FOUND="No such order in this workspace.",
    ORDERS_REFUSED="Some of the orders, or all, may not go out; `refused` says why for each.",
    ORDER_REFERENCE_TAKEN="Another order of the workspace has that reference.",
    ROBOT_JOB_NOT_FOUND="No such job in this workspace.",
    ROBOT_JOB_ITEM_NOT_FOUND="No such item in this workspace.",
    CARRIER_CONFIG_NOT_FOUND="The workspace has no config for that carrier.",
    IDEMPOTENCY_KEY_IN_USE="A job holds the key; `job` is that job.",
    STALE_ATTEMPT="The result is for an older attempt; it was kept for review and changed nothing.",
    RESULT_CONFLICT="The attempt is closed with another result; nothing changed.",
    INVALID_TRANSITION="The job cannot go from its state to that one; `job` shows it.",
    ITEMS_NOT_RETRYABLE="Some items cannot be retried; `refused` says why for each.",
    LEASE_LOST="The lease has run out, was taken away or has ended: let go of the item.",
    ORDER_SHIPPED_MEANWHILE="The order got a tracking number meanwhile, or an earlier try did: do not submit it.",
    OUTCOME_NOT_OPEN="It is known how the item, or that attempt of it, ended; nothing changed.",
    NUMBER_ALREADY_RESERVED="Another try with the account has reserved the number: take a higher one.",
    ACCOUNT_NOT_PAUSED="Robots are not kept from the account; there is nothing to resume.",
    CARRIER_CONFIG_DISABLED="The config for that carrier is switched off.",
    CARRIER_PASSWORD_MISSING="The config for that carrier has no password.",  # noqa: S106 -- a description
    CREDENTIAL_KEYS_MISSING="The installation has no keys to keep passwords with.",
    CREDENTIALS_UNREADABLE="The carrier's password cannot be decrypted; it must be set again.",
    INVALID_CURSOR="The cursor is not of this job, or from the future: read the job again, then follow it from there.",
    CURSOR_EXPIRED="What came after it is no longer kept: read the job again, then follow it from `oldestCursor`.",
    API_KEY_NOT_FOUND="No such API key in this workspace.",
    TOO_MANY_API_KEYS="The workspace has as many active API keys as it may have; revoke one first.",
    EVIDENCE_NOT_FOUND="No such evidence in this workspace, or it has expired.",
    EVIDENCE_LOST="What the evidence held is no longer in the store.",
    TOO_MUCH_EVIDENCE="The attempt has as much evidence as it may have.",
    UNAUTHENTICATED="No valid token or API key came with the request, or it has expired or was revoked.",
    NOT_A_MEMBER="Not a member of that workspace, or there is none.",
    WORKSPACE_REQUIRED="A member of several workspaces must name one in X-Workspace-Id.",
    FORBIDDEN="The member's role does not allow this.",
    BAD_REQUEST="The request is not a GraphQL request, or does not say which operation is meant.",
    BODY_TOO_LARGE="The request's body is over the limit.",
    QUERY_TOO_COMPLEX="The operation asks too much at once; `limit` says which limit it is over.",
    TOO_MANY_OPERATIONS="More operations in one batch, on one socket or in streams of one user than are allowed.",
    RATE_LIMITED="More operations in a minute than are allowed; try again later.",
    GRAPHQL_PARSE_FAILED="The document is not GraphQL.",
    GRAPHQL_VALIDATION_FAILED="The document or its variables do not fit the schema.",
    SERVICE_UNAVAILABLE="The database, the issuer of tokens or the store of evidence cannot be reached now; try again "
    "in a moment.",
    INTERNAL_ERROR="A fault on our side; the message carries an id to quote.",
)


@strawberry.interface(description="An expected failure.  Nothing was changed unless its description says so.")
class Error:
    code: ErrorCode = strawberry.field(description="What went wrong, for programs.")
    message: str = strawberry.field(description="What went wrong and what to do next, for people.")


@strawberry.type(description="One thing that is wrong with the input.")
class InputProblem:
    path: str = strawberry.field(description="Where in the input, such as `orderIds.3`.")
    message: str = strawberry.field(description="What is wrong there.")


@strawberry.type(description="The input cannot be right whatever the database holds.")
class InvalidInput(Error):
    problems: list[InputProblem] = strawberry.field(description="Everything that is wrong with it.")

    @classmethod
    def from_domain(cls, error: domain.errors.InvalidInput) -> "InvalidInput":
        problems = [domain.errors.InputProblem(camel_case(problem.path), problem.message) for problem in error.problems]
        return cls(
            code=ErrorCode.INVALID_INPUT,
            message=domain.errors.InvalidInput(*problems).message,
            problems=[InputProblem(path=problem.path, message=problem.message) for problem in problems],
        )


class Handler:
    """Turns one kind of domain error into its GraphQL type, in fields whose union has that type.

    Strawberry's ExceptionHandler protocol.  The error was raised inside the transaction, so that rolled back;
    translation happens outside.
    """

    def __init__(self, exception_type: type[domain.errors.DomainError], error_type: Any) -> None:
        self.exception_type = exception_type
        self.error_type = error_type

    def handle(self, exception: domain.errors.DomainError, **_: object) -> Any:
        return self.error_type.from_domain(exception)
