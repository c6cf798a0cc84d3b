"""Carrier configs: a workspace's login and settings for one carrier.

The password is beside them, encrypted, in `carrier_secrets`, which people cannot read: see docs/decisions/0008 for
why, and `domain.credentials` for who can.
"""

from domain.carrier_configs.changes import delete_carrier_config, secret_bound_to, upsert_carrier_config
from domain.carrier_configs.checks import UNSET, CarrierConfigChanges, ShippingDefaultsChanges, Unset
from domain.carrier_configs.errors import CarrierConfigDisabled, CarrierConfigNotFound, CredentialKeysMissing
from domain.carrier_configs.tables import (
    LEASES_AT_MOST,
    PASSWORD_AT_MOST,
    CarrierConfig,
    carrier_configs,
    carrier_secrets,
    credential_reads,
    find_carrier_config,
    find_carrier_configs,
)

__all__ = [
    "LEASES_AT_MOST",
    "PASSWORD_AT_MOST",
    "UNSET",
    "CarrierConfig",
    "CarrierConfigChanges",
    "CarrierConfigDisabled",
    "CarrierConfigNotFound",
    "CredentialKeysMissing",
    "ShippingDefaultsChanges",
    "Unset",
    "carrier_configs",
    "carrier_secrets",
    "credential_reads",
    "delete_carrier_config",
    "find_carrier_config",
    "find_carrier_configs",
    "secret_bound_to",
    "upsert_carrier_config",
]
