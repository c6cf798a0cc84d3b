"""What can be refused about carrier configs."""

from domain.carriers import Carrier
from domain.errors import DomainError


class CarrierConfigNotFound(DomainError):
    code = "CARRIER_CONFIG_NOT_FOUND"

    def __init__(self, carrier: Carrier) -> None:
        super().__init__(f"This workspace has no config for {carrier}; upsertCarrierConfig makes one.")
        self.carrier = carrier


class CarrierConfigDisabled(DomainError):
    code = "CARRIER_CONFIG_DISABLED"

    def __init__(self, carrier: Carrier) -> None:
        super().__init__(f"The config for {carrier} is switched off; an admin can switch it on.")
        self.carrier = carrier


class CredentialKeysMissing(DomainError):
    """The installation has no key ring, so it cannot keep a password."""

    code = "CREDENTIAL_KEYS_MISSING"

    def __init__(self) -> None:
        super().__init__(
            "This installation has no keys to keep passwords with, so nothing was changed. "
            "Whoever runs it sets ROBOT_JOBS_CREDENTIAL_KEYS; without a password the config can be saved now."
        )
