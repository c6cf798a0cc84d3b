"""Making, changing and removing configs; the password goes into its envelope here."""

import uuid
from dataclasses import fields
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.accounts import try_changed_login
from domain.base import new_id
from domain.carrier_configs.checks import UNSET, CarrierConfigChanges, checked_values
from domain.carrier_configs.errors import CarrierConfigNotFound, CredentialKeysMissing
from domain.carrier_configs.tables import CarrierConfig, carrier_configs, carrier_secrets
from domain.carriers import Carrier
from domain.envelopes import KeyRing, seal
from domain.errors import InputProblem, InvalidInput
from domain.pedido_input import ShippingDefaults


async def upsert_carrier_config(
    connection: AsyncConnection,
    carrier: Carrier,
    changes: CarrierConfigChanges,
    *,
    workspace_id: uuid.UUID,
    updated_by: str,
    key_ring: KeyRing | None,
) -> CarrierConfig:
    """Make the workspace's config for that carrier, or change what is given of it.

    What is left out keeps its value, or gets its default in a new config, which needs a username.  The password None
    removes the one that is kept.  An account that pauses is tried again once its login was changed.  Locks the
    config's row.  Raises InvalidInput, CredentialKeysMissing.
    """
    values = checked_values(changes)
    if isinstance(changes.password, str) and key_ring is None:
        raise CredentialKeysMissing
    values |= {"updated_at": sa.func.clock_timestamp(), "updated_by": updated_by}
    if changes.password is not UNSET:
        values["password_updated_at"] = sa.func.clock_timestamp() if changes.password is not None else sa.null()
    while (config := await _update(connection, carrier, values)) is None:
        if "username" not in values:
            raise InvalidInput(InputProblem("username", "is needed to make a config for this carrier."))
        if (config := await _insert(connection, workspace_id, carrier, values)) is not None:
            break  # else somebody else made it just now, and it is there to be changed
    if changes.password is not UNSET:
        await _remove_secret(connection, carrier)
    if isinstance(changes.password, str) and key_ring is not None:
        await _insert_secret(connection, key_ring, config, changes.password)
    if "username" in values or changes.password is not UNSET:
        await try_changed_login(connection, carrier)
    return config


async def delete_carrier_config(connection: AsyncConnection, carrier: Carrier) -> CarrierConfig:
    """Remove the config with its password; the record of who read that stays.  Raises CarrierConfigNotFound."""
    row = (
        await connection.execute(
            sa.delete(carrier_configs).where(carrier_configs.c.carrier == carrier).returning(carrier_configs)
        )
    ).one_or_none()
    if row is None:
        raise CarrierConfigNotFound(carrier)
    return CarrierConfig.from_row(row)


def secret_bound_to(workspace_id: uuid.UUID, carrier: Carrier) -> tuple[str, ...]:
    """What a password is sealed for: no other table, workspace or carrier."""
    return ("carrier_secrets", str(workspace_id), carrier.value)


async def _update(connection: AsyncConnection, carrier: Carrier, values: dict[str, Any]) -> CarrierConfig | None:
    row = (
        await connection.execute(
            sa.update(carrier_configs)
            .where(carrier_configs.c.carrier == carrier)
            .values(values)
            .returning(carrier_configs)
        )
    ).one_or_none()
    return CarrierConfig.from_row(row) if row is not None else None


async def _insert(
    connection: AsyncConnection, workspace_id: uuid.UUID, carrier: Carrier, values: dict[str, Any]
) -> CarrierConfig | None:
    """None when there is one already."""
    defaults = ShippingDefaults()
    new = {
        each.name: getattr(defaults, each.name) for each in fields(defaults) if each.name != "units_by_total"
    } | values
    row = (
        await connection.execute(
            pg.insert(carrier_configs)
            .values(id=new_id(), workspace_id=workspace_id, carrier=carrier.value, **new)
            .on_conflict_do_nothing(index_elements=["workspace_id", "carrier"])
            .returning(carrier_configs)
        )
    ).one_or_none()
    return CarrierConfig.from_row(row) if row is not None else None


async def _remove_secret(connection: AsyncConnection, carrier: Carrier) -> None:
    """Without a WHERE, for which one must be able to read: the policy takes the carrier from the setting."""
    await connection.execute(sa.select(sa.func.set_config("robot_jobs.carrier", carrier.value, True)))
    await connection.execute(sa.delete(carrier_secrets))


async def _insert_secret(connection: AsyncConnection, key_ring: KeyRing, config: CarrierConfig, password: str) -> None:
    envelope = seal(key_ring, password, bound_to=secret_bound_to(config.workspace_id, config.carrier))
    await connection.execute(
        sa.insert(carrier_secrets).values(
            workspace_id=config.workspace_id,
            carrier=config.carrier.value,
            key_version=envelope.key_version,
            wrapped_key=envelope.wrapped_key,
            wrapped_key_nonce=envelope.wrapped_key_nonce,
            ciphertext=envelope.ciphertext,
            nonce=envelope.nonce,
        )
    )
