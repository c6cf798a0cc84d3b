"""Who may use which root field: said once, where the field is declared.

The field's description, the check in its transaction and the table in docs/api.md all come from there.
"""

import uuid
from contextlib import AbstractAsyncContextManager
from typing import Any

import strawberry

from domain.workspaces import Role
from schema.context import Info
from schema.followers import Follower
from schema.work import Work

READERS = (Role.VIEWER, Role.OPERATOR, Role.ADMIN, Role.ROBOT)
PEOPLE = (Role.VIEWER, Role.OPERATOR, Role.ADMIN)
OPERATORS = (Role.OPERATOR, Role.ADMIN)
REPORTERS = (Role.OPERATOR, Role.ADMIN, Role.ROBOT)
ROBOTS = (Role.ROBOT,)
ADMINS = (Role.ADMIN,)

_PLURALS = {Role.VIEWER: "viewers", Role.OPERATOR: "operators", Role.ADMIN: "admins", Role.ROBOT: "robots"}


def query(description: str, *, roles: tuple[Role, ...] | None = READERS) -> Any:
    """A field of Query, for members with one of those roles; None for everyone with a good token."""
    return strawberry.field(**_options(description, roles))


def mutation(description: str, *, roles: tuple[Role, ...]) -> Any:
    """A field of Mutation, for members with one of those roles."""
    return strawberry.mutation(**_options(description, roles))


def subscription(description: str, *, of: type, roles: tuple[Role, ...] = READERS) -> Any:
    """A field of Subscription, for members with one of those roles; its messages' values are `of` that type."""
    return strawberry.subscription(graphql_type=of, **_options(description, roles))


def transaction(info: Info, workspace_id: uuid.UUID | None = None) -> AbstractAsyncContextManager[Work]:
    """The transaction of a root field that writes: see Context.transaction."""
    return info.context.transaction(roles_of(info), workspace_id=workspace_id)


def reading(info: Info) -> AbstractAsyncContextManager[Work]:
    """The transaction of a root field that reads: see Context.reading."""
    return info.context.reading(roles_of(info))


def following(info: Info) -> AbstractAsyncContextManager[Work]:
    """The first look of a subscription: see Context.following."""
    return info.context.following(roles_of(info))


def follower(info: Info, work: Work) -> Follower:
    """Who asks, as one who follows from now on where that look was."""
    return info.context.follower(work.membership, roles_of(info))


def roles_of(info: Info) -> tuple[Role, ...]:
    """The roles that the running root field was declared with."""
    roles: tuple[Role, ...] | None = info._field.metadata["roles"]
    if roles is None:
        raise TypeError(f"{info.field_name} is for everyone: it enters no workspace")
    return roles


def in_words(roles: tuple[Role, ...] | None) -> str:
    """Such as “operators, admins and robots”."""
    if roles is None:
        return "everyone with a good token"
    *others, last = (_PLURALS[role] for role in roles)
    return f"{', '.join(others)} and {last}" if others else last


def _options(description: str, roles: tuple[Role, ...] | None) -> dict[str, Any]:
    return {"description": f"{description}  For {in_words(roles)}.", "metadata": {"roles": roles}}
