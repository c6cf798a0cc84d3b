"""The tables of docs/api.md that are written from the code."""

from typing import Any

from strawberry.types.base import StrawberryObjectDefinition

from domain.workspaces import Role
from schema import Mutation, Query, Subscription
from schema.errors import ErrorCode

_ROLES = (Role.VIEWER, Role.OPERATOR, Role.ADMIN, Role.ROBOT)


def access_table() -> str:
    """Which role may use which root field."""
    lines = ["| | " + " | ".join(_ROLES) + " |", "|---|" + ":-:|" * len(_ROLES)]
    for kind, root in (("query", Query), ("mutation", Mutation), ("subscription", Subscription)):
        for name, roles in sorted(root_fields(root).items()):
            marks = " | ".join("✓" if role in roles else "" for role in _ROLES)
            lines.append(f"| {kind} `{name}` | {marks} |")
    return "\n".join(lines)


def root_fields(root: type) -> dict[str, tuple[Role, ...]]:
    """Each field of a root type by its name in the contract, with the roles that it was declared with."""
    definition: StrawberryObjectDefinition = root.__strawberry_definition__  # type: ignore[attr-defined]  # Strawberry's
    return {_name(each): each.metadata["roles"] or _ROLES for each in definition.fields}


def _name(field: Any) -> str:
    head, *tail = str(field.python_name).split("_")
    return head + "".join(part.title() for part in tail)


def error_table() -> str:
    """Every error code with its description."""
    values = ErrorCode.__strawberry_definition__.values  # type: ignore[attr-defined]  # set by strawberry.enum
    return "\n".join(["| code | means |", "|---|---|", *(f"| `{each.name}` | {each.description} |" for each in values)])
