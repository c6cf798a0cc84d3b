"""What every table shares: naming of constraints, kinds of columns, ids."""

import datetime as dt
import uuid
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.exc import IntegrityError
from uuid_utils.compat import uuid7

metadata = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)


def new_id() -> uuid.UUID:
    """A UUIDv7: ids made later sort later, so keyset pages by id are pages by age."""
    return uuid7()


def first_id_at(time: dt.datetime) -> uuid.UUID:
    """The least of the ids that are made then, to the millisecond, or later."""
    return uuid.UUID(int=int(time.timestamp() * 1_000) << 80)


def id_column(name: str = "id", *arguments: Any, **options: Any) -> sa.Column[uuid.UUID]:
    return sa.Column(name, sa.Uuid(), *arguments, nullable=options.pop("nullable", False), **options)


def timestamp(name: str, *, nullable: bool = False, comment: str | None = None) -> sa.Column[dt.datetime]:
    """A `timestamptz`, UTC.  Columns that may not be null default to the time of the statement."""
    return sa.Column(
        name,
        sa.DateTime(timezone=True),
        nullable=nullable,
        server_default=None if nullable else sa.func.clock_timestamp(),
        comment=comment,
    )


def one_of(column: str, values: type[StrEnum]) -> sa.CheckConstraint:
    """Status columns are text with a CHECK: a new value is then a plain migration, not an enum rebuild."""
    listed = ", ".join(f"'{value.value}'" for value in values)
    return sa.CheckConstraint(f"{column} IN ({listed})", name=f"{column}_known")


def array_of(values: list[Any], type_: sa.types.TypeEngine[Any]) -> sa.BindParameter[Any]:
    """One bind parameter that holds a whole list: a statement on 1,000 rows stays one statement."""
    return sa.bindparam(None, values, type_=pg.ARRAY(type_), unique=True)


def array_parameter(name: str, type_: sa.types.TypeEngine[Any]) -> sa.BindParameter[Any]:
    """As array_of, for statements that are built once and given their lists at each execution."""
    return sa.bindparam(name, type_=pg.ARRAY(type_))


def violated_constraint(error: IntegrityError) -> str | None:
    """The name of the constraint or unique index that refused a write."""
    cause = error.orig.__cause__ if error.orig is not None else None
    name = getattr(cause, "constraint_name", None)
    return name if isinstance(name, str) else None
