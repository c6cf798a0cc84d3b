"""Portal passwords decrypted: for a robot, each time with a record of who and why; and their keys renewed."""

import logging
import uuid
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.base import array_parameter, new_id
from domain.carrier_configs import (
    CarrierConfigDisabled,
    CarrierConfigNotFound,
    CredentialKeysMissing,
    carrier_configs,
    carrier_secrets,
    credential_reads,
    secret_bound_to,
)
from domain.carriers import Carrier
from domain.envelopes import Envelope, EnvelopeUnreadable, KeyRing, rewrap, unseal
from domain.errors import DomainError
from domain.text import checked_text

PURPOSE_AT_MOST = 100
READ_BY_AT_MOST = 255

logger = logging.getLogger("robot_jobs.credentials")


class CarrierPasswordMissing(DomainError):
    code = "CARRIER_PASSWORD_MISSING"

    def __init__(self, carrier: Carrier) -> None:
        super().__init__(f"The config for {carrier} has no password; an admin can set it.")
        self.carrier = carrier


class CredentialsUnreadable(DomainError):
    """Its key is lost, or somebody changed the row; the log has the reason."""

    code = "CREDENTIALS_UNREADABLE"

    def __init__(self, carrier: Carrier) -> None:
        super().__init__(f"The password for {carrier} cannot be decrypted; an admin can set it again.")
        self.carrier = carrier


@dataclass(frozen=True, slots=True)
class CarrierCredentials:
    """What logs in at the carrier's portal.  It does not show its password."""

    carrier: Carrier
    username: str
    password: str = field(repr=False)


async def read_carrier_credentials(
    connection: AsyncConnection,
    key_ring: KeyRing | None,
    carrier: Carrier,
    *,
    read_by: str,
    purpose: str,
    item_id: uuid.UUID | None = None,
) -> CarrierCredentials:
    """The workspace's login for that carrier; a record of the read is written in the same transaction.

    Hand it out only after the commit, so that no read goes unrecorded.  Row level security lets robots alone read the
    password.  Raises CarrierConfigNotFound, CarrierConfigDisabled, CarrierPasswordMissing, CredentialKeysMissing,
    CredentialsUnreadable.
    """
    read_by = checked_text("read_by", read_by, at_most=READ_BY_AT_MOST)
    purpose = checked_text("purpose", purpose, at_most=PURPOSE_AT_MOST)
    row = (
        await connection.execute(
            sa.select(
                carrier_configs.c.id,
                carrier_configs.c.workspace_id,
                carrier_configs.c.username,
                carrier_configs.c.is_enabled,
                carrier_configs.c.password_updated_at,
                *_ENVELOPE,
            )
            .select_from(
                carrier_configs.outerjoin(
                    carrier_secrets,
                    sa.and_(
                        carrier_secrets.c.workspace_id == carrier_configs.c.workspace_id,
                        carrier_secrets.c.carrier == carrier_configs.c.carrier,
                    ),
                )
            )
            .where(carrier_configs.c.carrier == carrier)
        )
    ).one_or_none()
    if row is None:
        raise CarrierConfigNotFound(carrier)
    if not row.is_enabled:
        raise CarrierConfigDisabled(carrier)
    if row.password_updated_at is None:
        raise CarrierPasswordMissing(carrier)
    if key_ring is None:
        raise CredentialKeysMissing
    if row.key_version is None:
        raise _unreadable(carrier, row.workspace_id, "its row is gone, or not to be seen by who asks")
    try:
        password = unseal(key_ring, _envelope(row), bound_to=secret_bound_to(row.workspace_id, carrier))
    except EnvelopeUnreadable as error:
        raise _unreadable(carrier, row.workspace_id, str(error)) from None
    await connection.execute(
        sa.insert(credential_reads).values(
            id=new_id(),
            workspace_id=row.workspace_id,
            carrier_config_id=row.id,
            carrier=carrier.value,
            read_by=read_by,
            purpose=purpose,
            item_id=item_id,
        )
    )
    return CarrierCredentials(carrier, row.username, password)


@dataclass(frozen=True, slots=True)
class UnreadableSecret:
    """A password whose data key could not be unwrapped, and why."""

    workspace_id: uuid.UUID
    carrier: Carrier
    reason: str


@dataclass(frozen=True, slots=True)
class RewrappedSecrets:
    """One batch: how many rows were rewrapped, which could not be, and the last one seen, to go on from."""

    rewrapped: int
    unreadable: tuple[UnreadableSecret, ...]
    last: tuple[uuid.UUID, str] | None


async def rewrap_carrier_secrets(
    connection: AsyncConnection, key_ring: KeyRing, *, after: tuple[uuid.UUID, str] | None = None, at_most: int = 500
) -> RewrappedSecrets:
    """Put the next rows' data keys under the ring's newest key; two statements.

    For the system scope (`enter_as_owner`): it goes through all workspaces.  Safe to repeat and beside running servers,
    for it locks the rows that it rewraps, and passes by what has the newest key already.  Passwords are not decrypted.
    """
    table = carrier_secrets
    waiting = sa.select(table.c.workspace_id, table.c.carrier, *_ENVELOPE).where(table.c.key_version != key_ring.newest)
    if after is not None:
        waiting = waiting.where(sa.tuple_(table.c.workspace_id, table.c.carrier) > sa.tuple_(*after))
    rows = (
        await connection.execute(
            waiting.order_by(table.c.workspace_id, table.c.carrier).limit(at_most).with_for_update()
        )
    ).all()
    renewed: list[tuple[uuid.UUID, str, Envelope]] = []
    unreadable: list[UnreadableSecret] = []
    for row in rows:
        carrier = Carrier(row.carrier)
        try:
            envelope = rewrap(key_ring, _envelope(row), bound_to=secret_bound_to(row.workspace_id, carrier))
        except EnvelopeUnreadable as error:
            unreadable.append(UnreadableSecret(row.workspace_id, carrier, str(error)))
        else:
            renewed.append((row.workspace_id, row.carrier, envelope))
    if renewed:
        await connection.execute(
            _REWRAP,
            {
                "workspace_ids": [workspace_id for workspace_id, _, _ in renewed],
                "carriers": [carrier for _, carrier, _ in renewed],
                "wrapped_keys": [envelope.wrapped_key for _, _, envelope in renewed],
                "nonces": [envelope.wrapped_key_nonce for _, _, envelope in renewed],
                "key_version": key_ring.newest,
            },
        )
    last = (rows[-1].workspace_id, rows[-1].carrier) if rows else None
    return RewrappedSecrets(len(renewed), tuple(unreadable), last)


_ENVELOPE = (
    carrier_secrets.c.key_version,
    carrier_secrets.c.wrapped_key,
    carrier_secrets.c.wrapped_key_nonce,
    carrier_secrets.c.ciphertext,
    carrier_secrets.c.nonce,
)

_renewed = (
    sa.func.unnest(
        array_parameter("workspace_ids", sa.Uuid()),
        array_parameter("carriers", sa.Text()),
        array_parameter("wrapped_keys", sa.LargeBinary()),
        array_parameter("nonces", sa.LargeBinary()),
    )
    .table_valued(
        sa.column("workspace_id", sa.Uuid()),
        sa.column("carrier", sa.Text()),
        sa.column("wrapped_key", sa.LargeBinary()),
        sa.column("wrapped_key_nonce", sa.LargeBinary()),
    )
    .render_derived("renewed")
)
_REWRAP = (
    sa.update(carrier_secrets)
    .where(carrier_secrets.c.workspace_id == _renewed.c.workspace_id, carrier_secrets.c.carrier == _renewed.c.carrier)
    .values(
        key_version=sa.bindparam("key_version", type_=sa.Integer),
        wrapped_key=_renewed.c.wrapped_key,
        wrapped_key_nonce=_renewed.c.wrapped_key_nonce,
    )
)


def _envelope(row: sa.Row[*tuple[Any, ...]]) -> Envelope:
    return Envelope(row.key_version, row.wrapped_key, row.wrapped_key_nonce, row.ciphertext, row.nonce)


def _unreadable(carrier: Carrier, workspace_id: uuid.UUID, reason: str) -> CredentialsUnreadable:
    logger.error("the password of workspace %s for %s cannot be decrypted: %s", workspace_id, carrier, reason)
    return CredentialsUnreadable(carrier)
