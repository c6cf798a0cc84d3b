"""A claim with what is needed to work on it: the items under their leases, and the login for the carrier's portal."""

import uuid
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection

from domain.accounts import Breaker
from domain.carrier_configs import CarrierConfigNotFound
from domain.carriers import Carrier
from domain.credentials import CarrierCredentials, CarrierPasswordMissing, read_carrier_credentials
from domain.envelopes import KeyRing
from domain.robot_jobs import ClaimedItems, ClaimPurpose, claim_job_items, claim_lookups


@dataclass(frozen=True, slots=True)
class Claim:
    """`credentials` is None when nothing was claimed, and when the shop has set no password."""

    claimed: ClaimedItems
    credentials: CarrierCredentials | None


async def claim_with_credentials(
    connection: AsyncConnection,
    key_ring: KeyRing | None,
    carrier: Carrier,
    *,
    workspace_id: uuid.UUID,
    claimed_by: str,
    purpose: ClaimPurpose = ClaimPurpose.SHIP,
    claim_id: uuid.UUID | None = None,
    limit: int = 1,
    lease_s: int = 300,
    breaker: Breaker = Breaker(),  # noqa: B008 -- frozen
) -> Claim:
    """As claim_job_items or claim_lookups, with the login that the leases are for.

    The read of it is on record, with the first item.  Hand it out only after the commit.  A password that cannot be
    read claims nothing, nor does a config that is switched off this very moment.  Raises InvalidInput,
    CredentialKeysMissing, CredentialsUnreadable, CarrierConfigDisabled.
    """
    claim = claim_job_items if purpose is ClaimPurpose.SHIP else claim_lookups
    claimed = await claim(
        connection,
        carrier,
        workspace_id=workspace_id,
        claimed_by=claimed_by,
        claim_id=claim_id,
        limit=limit,
        lease_s=lease_s,
        breaker=breaker,
    )
    if not claimed.items:
        return Claim(claimed, None)
    try:
        credentials = await read_carrier_credentials(
            connection,
            key_ring,
            carrier,
            read_by=claimed_by,
            purpose=f"a claim of {len(claimed.items)} items" if len(claimed.items) > 1 else "a claim",
            item_id=claimed.items[0].id,
        )
    except (CarrierConfigNotFound, CarrierPasswordMissing):
        return Claim(claimed, None)
    return Claim(claimed, credentials)
