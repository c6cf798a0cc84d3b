"""Top-level errors: each carries `extensions.code`; what the client cannot have caused shows an id and nothing else."""

import logging
import re
import uuid

import sqlalchemy.exc
from graphql import GraphQLError, GraphQLSyntaxError
from strawberry.exceptions import MissingQueryError
from strawberry.schema.exceptions import CannotGetOperationTypeError

from domain.errors import DomainError
from schema.errors import ErrorCode

logger = logging.getLogger("robot_jobs.faults")

_UNREACHABLE = (OSError, TimeoutError, sqlalchemy.exc.TimeoutError, sqlalchemy.exc.InterfaceError)


# SQLSTATEs of what passes by itself: a deadlock that PostgreSQL broke, too many connections, a restart; and all of
# class 08, a connection that was lost.
_PASSING = {"40P01", "40001", "53300", "57P01", "57P02", "57P03"}


_SUGGESTION = re.compile(r" Did you mean [^?]*\?")  # names hold no question mark


def public_error(error: GraphQLError, *, suggests: bool = True) -> GraphQLError:  # noqa: PLR0911 -- one answer a kind of error
    """What the client may know of an error; idempotent.  Suggestions show names of the schema to those who guess."""
    if error.extensions and "code" in error.extensions:
        return error
    cause = error.original_error
    while isinstance(cause, GraphQLError) and cause.original_error is not None:
        cause = cause.original_error
    match cause:
        case DomainError():
            return _with_code(error, cause.message, cause.code, **cause.facts)
        case None | GraphQLError() if isinstance(error, GraphQLSyntaxError):
            return _with_code(error, without_tokens(error.message), ErrorCode.GRAPHQL_PARSE_FAILED.value)
        case None | GraphQLError():
            message = without_values(error.message)  # first, for what a client sent may look like anything
            shown = message if suggests else _SUGGESTION.sub("", message)
            return _with_code(error, shown, ErrorCode.GRAPHQL_VALIDATION_FAILED.value)
    if isinstance(cause, CannotGetOperationTypeError | MissingQueryError):
        message = "The request names no operation of its document."
        return _with_code(error, message, ErrorCode.BAD_REQUEST.value)
    if is_unreachable(cause):
        logger.warning("the database cannot be reached: %s", cause)
        message = "The database cannot be reached now; try again in a moment."
        return _with_code(error, message, ErrorCode.SERVICE_UNAVAILABLE.value)
    error_id = uuid.uuid4().hex[:12]
    logger.error("fault %s at %s", error_id, error.path, exc_info=cause)
    message = f"Something went wrong on our side. Quote the error id {error_id} when you report it."
    return _with_code(error, message, ErrorCode.INTERNAL_ERROR.value, errorId=error_id)


# What comes before a value in the messages of graphql-core and Strawberry; names of types and fields come earlier.
_BEFORE_A_VALUE = re.compile(
    r"(?P<found>[;,.?] [Ff]ound: )"
    r"|(?P<refused>cannot represent (?:a )?non[\w -]{1,40}: |cannot represent value: )"
    r"|(?P<scalar>cannot represent an? \w{1,60}: )"
    r"|(?P<fault>, but encountered error ')"
    r"|(?P<enum>Value ')"
)
_UNKNOWN_ENUM_VALUE = re.compile(
    r" does not exist in '\w+' enum\.(?: Did you mean the enum values? (?:'\w+'[, or]*)+\?)?\Z"
)
_BEFORE_A_TOKEN = re.compile(
    r"(?P<token> ?\b(?:String|BlockString|Name|Int|Float|Comment)) '|(?P<escape> sequence): '|, did you mean '0"
)


def without_values(message: str) -> str:
    """A validation error without the values that the client sent: one of them may be a secret.

    Which variable, field and type it is about stays, and of a value what kind it is.  Everything from the first value
    on goes, for what is in there cannot be told from the message's own words; linear in the message's length.
    """
    found = _BEFORE_A_VALUE.search(message)
    if found is None:
        return message
    before, value = message[: found.start()], message[found.end() : found.end() + 8]
    match found.lastgroup:
        case "enum":
            at = message.rfind(" does not exist in '")
            known = _UNKNOWN_ENUM_VALUE.match(message, at) if at >= found.end() else None
            return f"{before}The value{known[0]}" if known else f"{before}The value is not one of the enum's."
        case "scalar":
            return f"{before}{found[0].removesuffix(': ')}."
        case "fault":
            return f"{before}."
        case _:
            return f"{before}{found[0]}{_kind_of(value)}."


def without_tokens(message: str) -> str:
    """A syntax error without the text that it stumbled over; the error's location says where that is."""
    found = _BEFORE_A_TOKEN.search(message)
    if found is None:
        return message
    return f"{message[: found.start()]}{found['token'] or found['escape'] or ''}."


def _kind_of(value: str) -> str:
    """Of a value as graphql-core prints it, given its beginning."""
    if value.startswith(("True", "False", "true", "false")):
        return "a boolean"
    if value.startswith(("None", "null")):
        return "null"
    if value[:1].isdigit() or value[:1] == "-":
        return "a number"
    return {"'": "a string", '"': "a string", "[": "a list", "(": "a list", "{": "an object"}.get(value[:1], "a name")


def is_unreachable(cause: Exception) -> bool:
    """Whether it says that the database is away: what was tried may go well in a moment."""
    if isinstance(cause, sqlalchemy.exc.DBAPIError):
        sqlstate = getattr(cause.orig, "sqlstate", None) or ""
        is_passing = sqlstate in _PASSING or sqlstate.startswith("08")
        return is_passing or cause.connection_invalidated or isinstance(cause, sqlalchemy.exc.InterfaceError)
    return isinstance(cause, _UNREACHABLE)


def _with_code(error: GraphQLError, message: str, code: str, **facts: str) -> GraphQLError:
    return GraphQLError(
        message,
        nodes=error.nodes,
        source=error.source,
        positions=error.positions,
        path=error.path,
        extensions={"code": code, **facts},
    )
