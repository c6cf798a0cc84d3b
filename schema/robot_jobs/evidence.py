"""Evidence as the contract shows it; its bytes are got over HTTP."""

import datetime as dt
from typing import Self

import strawberry

import domain.evidence

EVIDENCE_PATH = "/evidence"


@strawberry.type(description="What a robot saw in a try, as a picture or as text; kept for a time.")
class Evidence:
    id: strawberry.ID = strawberry.field(description="Its id.")
    content_type: str = strawberry.field(description="Its media type, such as `image/png`.")
    size_bytes: int = strawberry.field(description="How large it is.")
    url: str = strawberry.field(
        description="Where members of the workspace get it, on this server and with the same headers: a path."
    )
    created_at: dt.datetime = strawberry.field(description="When it came.")
    created_by: str = strawberry.field(description="The user id of who sent it.")
    expires_at: dt.datetime | None = strawberry.field(description="When it will be removed; null if never.")

    @classmethod
    def from_domain(cls, evidence: domain.evidence.Evidence) -> Self:
        return cls(
            id=strawberry.ID(str(evidence.id)),
            content_type=evidence.content_type.value,
            size_bytes=evidence.size_bytes,
            url=f"{EVIDENCE_PATH}/{evidence.id}",
            created_at=evidence.created_at,
            created_by=evidence.created_by,
            expires_at=evidence.expires_at,
        )
