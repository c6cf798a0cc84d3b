"""Carrier configs in the contract.  A password goes in and never comes out: no type here has a field for one."""

import datetime as dt
from decimal import Decimal
from typing import Annotated, Any, Self

import strawberry

import domain.carrier_configs
import domain.credentials
from domain.carrier_configs import UNSET, CarrierConfigChanges, ShippingDefaultsChanges
from domain.carriers import Carrier
from domain.errors import invalid
from domain.pedido_input import ShippingDefaults as DomainShippingDefaults
from domain.pedido_input import UnitsStep as DomainUnitsStep
from schema.access import ADMINS, PEOPLE, mutation, query, reading, transaction
from schema.accounts import AccountPause, pause_of
from schema.context import Info
from schema.errors import Error, ErrorCode, InvalidInput


@strawberry.type(description="From that total on, an order goes as that many units.")
class UnitsStep:
    from_total_cop: Decimal = strawberry.field(description="In Colombian pesos.")
    units: int = strawberry.field(description="How many.")


@strawberry.type(description="What is typed into the carrier's form where an order does not say it.")
class ShippingDefaults:
    declared_value_cop: int = strawberry.field(description="In whole Colombian pesos.")
    weight_kg: Decimal = strawberry.field(description="Of one parcel.")
    height_cm: int = strawberry.field(description="Of one parcel.")
    length_cm: int = strawberry.field(description="Of one parcel.")
    width_cm: int = strawberry.field(description="Of one parcel.")
    reference: str | None = strawberry.field(description="The form's reference; null is the order's own.")
    units_by_total: list[UnitsStep] = strawberry.field(
        description="By ascending total; empty is the order's own number of units."
    )

    @classmethod
    def from_domain(cls, defaults: DomainShippingDefaults) -> Self:
        return cls(
            declared_value_cop=defaults.declared_value_cop,
            weight_kg=defaults.weight_kg.normalize() + 0,
            height_cm=defaults.height_cm,
            length_cm=defaults.length_cm,
            width_cm=defaults.width_cm,
            reference=defaults.reference,
            units_by_total=[
                UnitsStep(from_total_cop=step.from_total_cop.normalize() + 0, units=step.units)
                for step in defaults.units_by_total
            ],
        )


@strawberry.type(description="The workspace's login and settings for one carrier.")
class CarrierConfig:
    id: strawberry.ID = strawberry.field(description="Unique among all objects.")
    carrier: Carrier = strawberry.field(description="For whose portal; a workspace has one config for each.")
    username: str = strawberry.field(description="Of the portal.")
    is_enabled: bool = strawberry.field(description="Whether robots may log in.")
    dispatch_stage: str | None = strawberry.field(
        description="Orders of that stage are ready for this carrier; null is any stage."
    )
    max_concurrent_leases: int = strawberry.field(
        description="How many items robots may work on at once with this login; many portals allow one session."
    )
    shipping_defaults: ShippingDefaults = strawberry.field(description="For what an order does not say.")
    has_password: bool = strawberry.field(description="Whether a password is kept.  It is never shown.")
    password_updated_at: dt.datetime | None = strawberry.field(description="When the password was last set.")
    created_at: dt.datetime = strawberry.field(description="When it was made.")
    updated_at: dt.datetime = strawberry.field(description="When it was last written.")
    updated_by: str = strawberry.field(description="The user id of who wrote it last.")

    @strawberry.field(description="Why robots leave the account alone for now; null when they do not.")
    async def pause(self, info: Info) -> AccountPause | None:
        return await pause_of(info, self.carrier)

    @classmethod
    def from_domain(cls, config: domain.carrier_configs.CarrierConfig) -> Self:
        return cls(
            id=strawberry.ID(str(config.id)),
            carrier=config.carrier,
            username=config.username,
            is_enabled=config.is_enabled,
            dispatch_stage=config.dispatch_stage,
            max_concurrent_leases=config.max_concurrent_leases,
            shipping_defaults=ShippingDefaults.from_domain(config.shipping_defaults),
            has_password=config.has_password,
            password_updated_at=config.password_updated_at,
            created_at=config.created_at,
            updated_at=config.updated_at,
            updated_by=config.updated_by,
        )


@strawberry.type(description="The workspace has no config for that carrier.")
class CarrierConfigNotFound(Error):
    @classmethod
    def from_domain(cls, error: domain.carrier_configs.CarrierConfigNotFound) -> Self:
        return cls(code=ErrorCode.CARRIER_CONFIG_NOT_FOUND, message=error.message)


@strawberry.type(description="The workspace's config has this carrier switched off; an admin can enable it.")
class CarrierConfigDisabled(Error):
    @classmethod
    def from_domain(cls, error: domain.carrier_configs.CarrierConfigDisabled) -> Self:
        return cls(code=ErrorCode.CARRIER_CONFIG_DISABLED, message=error.message)


@strawberry.type(description="This installation has no keys to keep passwords with; without one it would work.")
class CredentialKeysMissing(Error):
    @classmethod
    def from_domain(cls, error: domain.carrier_configs.CredentialKeysMissing) -> Self:
        return cls(code=ErrorCode.CREDENTIAL_KEYS_MISSING, message=error.message)


@strawberry.type(description="The carrier's password cannot be decrypted; an admin can set it again.")
class CredentialsUnreadable(Error):
    @classmethod
    def from_domain(cls, error: domain.credentials.CredentialsUnreadable) -> Self:
        return cls(code=ErrorCode.CREDENTIALS_UNREADABLE, message=error.message)


@strawberry.type
class CarrierConfigQueries:
    @query("The workspace's config for that carrier, or null when there is none.", roles=PEOPLE)
    async def carrier_config(
        self, info: Info, carrier: Annotated[Carrier, strawberry.argument(description="Which carrier.")]
    ) -> CarrierConfig | None:
        async with reading(info) as work:
            found = await domain.carrier_configs.find_carrier_config(work.connection, carrier)
        return CarrierConfig.from_domain(found) if found is not None else None

    @query("The workspace's configs, one a carrier at most.", roles=PEOPLE)
    async def carrier_configs(self, info: Info) -> list[CarrierConfig]:
        async with reading(info) as work:
            found = await domain.carrier_configs.find_carrier_configs(work.connection)
        return [CarrierConfig.from_domain(config) for config in found]


@strawberry.input(description="From that total on, an order goes as that many units.")
class UnitsStepInput:
    from_total_cop: Decimal = strawberry.field(description="In Colombian pesos, 0 to 999,999,999.")
    units: int = strawberry.field(description="How many, 1 to 10,000.")


@strawberry.input(description="The defaults to change; what is left out stays as it is.")
class ShippingDefaultsInput:
    declared_value_cop: int | None = strawberry.field(
        default=strawberry.UNSET, description="In whole Colombian pesos, 0 to 999,999,999; 55,000 in a new config."
    )
    weight_kg: Decimal | None = strawberry.field(
        default=strawberry.UNSET, description="Of one parcel, 0.01 to 1,000; 0.08 in a new config."
    )
    height_cm: int | None = strawberry.field(
        default=strawberry.UNSET, description="Of one parcel, 1 to 500; 5 in a new config."
    )
    length_cm: int | None = strawberry.field(
        default=strawberry.UNSET, description="Of one parcel, 1 to 500; 5 in a new config."
    )
    width_cm: int | None = strawberry.field(
        default=strawberry.UNSET, description="Of one parcel, 1 to 500; 10 in a new config."
    )
    reference: str | None = strawberry.field(
        default=strawberry.UNSET, description="The form's reference; null types the order's own."
    )
    units_by_total: list[UnitsStepInput] | None = strawberry.field(
        default=strawberry.UNSET,
        description="At most 20 steps by ascending total; an empty list types the order's own number of units.",
    )

    def to_domain(self) -> ShippingDefaultsChanges:
        given = _given(self)
        if steps := given.get("units_by_total"):
            given["units_by_total"] = [DomainUnitsStep(step.from_total_cop, step.units) for step in steps]
        return ShippingDefaultsChanges(**given)


def _secret(field: Any) -> Any:
    """A field that its type does not show when it is printed."""
    field.repr = False
    return field


@strawberry.input(description="A carrier, and what to change of its config; what is left out stays as it is.")
class UpsertCarrierConfigInput:
    carrier: Carrier = strawberry.field(description="Which carrier.")
    username: str | None = strawberry.field(
        default=strawberry.UNSET, description="Of the portal, at most 200 characters; needed for a new config."
    )
    password: str | None = _secret(
        strawberry.field(
            default=strawberry.UNSET,
            description="Of the portal, at most 500 characters; null removes the one that is kept.  Send it as a "
            "variable.  It is kept encrypted, and no field shows it.",
        )
    )
    is_enabled: bool | None = strawberry.field(
        default=strawberry.UNSET, description="Whether robots may log in; true in a new config."
    )
    dispatch_stage: str | None = strawberry.field(
        default=strawberry.UNSET, description="Orders of that stage are ready for this carrier; null is any stage."
    )
    max_concurrent_leases: int | None = strawberry.field(
        default=strawberry.UNSET,
        description="How many items robots may work on at once with this login, 1 to 100; 1 in a new config.",
    )
    shipping_defaults: ShippingDefaultsInput | None = strawberry.field(
        default=strawberry.UNSET, description="For what an order does not say."
    )

    def to_domain(self) -> CarrierConfigChanges:
        given = _given(self)
        del given["carrier"]
        shipping = given.pop("shipping_defaults", UNSET)
        if shipping is None:
            raise invalid("shipping_defaults", "must not be null; leave it out to keep what is there.")
        if isinstance(shipping, ShippingDefaultsInput):
            given["shipping_defaults"] = shipping.to_domain()
        return CarrierConfigChanges(**given)


def _given(source: object) -> dict[str, Any]:
    return {name: value for name, value in vars(source).items() if value is not strawberry.UNSET}


@strawberry.type(description="The config as it is now.")
class UpsertCarrierConfigSuccess:
    config: CarrierConfig = strawberry.field(description="The config.")


@strawberry.input(description="Which config to remove.")
class DeleteCarrierConfigInput:
    carrier: Carrier = strawberry.field(description="Which carrier's.")


@strawberry.type(description="The config is gone, and its password with it.")
class DeleteCarrierConfigSuccess:
    config: CarrierConfig = strawberry.field(description="The config as it was.")


UpsertCarrierConfigResult = Annotated[
    UpsertCarrierConfigSuccess | CredentialKeysMissing | InvalidInput,
    strawberry.union("UpsertCarrierConfigResult", description="Of upsertCarrierConfig."),
]
DeleteCarrierConfigResult = Annotated[
    DeleteCarrierConfigSuccess | CarrierConfigNotFound | InvalidInput,
    strawberry.union("DeleteCarrierConfigResult", description="Of deleteCarrierConfig."),
]


@strawberry.type
class CarrierConfigMutations:
    @mutation("Make the workspace's config for a carrier, or change what is given of it.", roles=ADMINS)
    async def upsert_carrier_config(
        self,
        info: Info,
        input: Annotated[UpsertCarrierConfigInput, strawberry.argument(description="The config.")],  # noqa: A002
    ) -> UpsertCarrierConfigResult:
        async with transaction(info) as work:
            config = await domain.carrier_configs.upsert_carrier_config(
                work.connection,
                input.carrier,
                input.to_domain(),
                workspace_id=work.membership.workspace_id,
                updated_by=work.membership.user_id,
                key_ring=info.context.key_ring,
            )
        return UpsertCarrierConfigSuccess(config=CarrierConfig.from_domain(config))

    @mutation(
        "Remove the workspace's config for a carrier with its password.  Who read that stays on record.",
        roles=ADMINS,
    )
    async def delete_carrier_config(
        self,
        info: Info,
        input: Annotated[DeleteCarrierConfigInput, strawberry.argument(description="Which config.")],  # noqa: A002
    ) -> DeleteCarrierConfigResult:
        async with transaction(info) as work:
            config = await domain.carrier_configs.delete_carrier_config(work.connection, input.carrier)
        return DeleteCarrierConfigSuccess(config=CarrierConfig.from_domain(config))
