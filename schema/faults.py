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


_SUGGESTION = re.compile(r" Did you mean .*\?$", re.DOTALL)


def public_error(error: GraphQLError, *, suggests: bool = True) -> GraphQLError:  # noqa: PLR0911 -- one answer a kind of error
    """What the client may know of an error; idempotent.  Suggestions show names of the schema to those who guess."""
    if error.extensions and "code" in error.extensions:
        return error
    cause = error.original_error
    while isinstance(cause, GraphQLError) and cause.original_error is not None:
        cause = cause.original_error
    match cause:
        case DomainError():
            return _with_code(error, cause.message, cause.code)
        case None | GraphQLError() if isinstance(error, GraphQLSyntaxError):
            return _with_code(error, error.message, ErrorCode.GRAPHQL_PARSE_FAILED.value)
        case None | GraphQLError():
            message = error.message if suggests else _SUGGESTION.sub("", error.message)
            return _with_code(error, message, ErrorCode.GRAPHQL_VALIDATION_FAILED.value)
    if isinstance(cause, CannotGetOperationTypeError | MissingQueryError):
        message = "The request names no operation of its document."
        return _with_code(error, message, ErrorCode.BAD_REQUEST.value)
    if _is_unreachable(cause):
        logger.warning("the database cannot be reached: %s", cause)
        message = "The database cannot be reached now; try again in a moment."
        return _with_code(error, message, ErrorCode.SERVICE_UNAVAILABLE.value)
    error_id = uuid.uuid4().hex[:12]
    logger.error("fault %s at %s", error_id, error.path, exc_info=cause)
    message = f"Something went wrong on our side. Quote the error id {error_id} when you report it."
    return _with_code(error, message, ErrorCode.INTERNAL_ERROR.value, errorId=error_id)


def _is_unreachable(cause: Exception) -> bool:
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
