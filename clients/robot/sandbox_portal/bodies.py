"""What is sent to the portal, read within limits: forms and JSON."""

import json
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request

FORM_BYTES_AT_MOST = 64_000
FORM_FIELDS_AT_MOST = 100
JSON_BYTES_AT_MOST = 4_000_000
_READ_AWAY_AT_MOST = 64_000_000


class BodyRefused(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a form; of one that came twice the last.  Raises BodyRefused."""
    if _media_type(request) != "application/x-www-form-urlencoded":
        raise BodyRefused(415, "El formulario debe enviarse como application/x-www-form-urlencoded.")
    body = await _read(request, at_most=FORM_BYTES_AT_MOST)
    if body is None:
        raise BodyRefused(413, f"El formulario es demasiado grande: tiene más de {FORM_BYTES_AT_MOST:,} bytes.")
    try:
        pairs = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            encoding="utf-8",
            errors="strict",
            max_num_fields=FORM_FIELDS_AT_MOST,
        )
    except ValueError as error:  # not ASCII, not UTF-8 behind the percent signs, or too many fields
        raise BodyRefused(400, "El formulario no es válido.") from error
    return dict(pairs)


async def read_json(request: Request) -> Any:
    """Raises BodyRefused."""
    if _media_type(request) != "application/json":
        raise BodyRefused(415, "Send JSON, as application/json.")
    body = await _read(request, at_most=JSON_BYTES_AT_MOST)
    if body is None:
        raise BodyRefused(413, f"The body is larger than {JSON_BYTES_AT_MOST:,} bytes.")
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BodyRefused(400, f"That is no JSON: {error}") from error


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def _read(request: Request, *, at_most: int) -> bytes | None:
    """None if it is larger.

    Then the rest is read and thrown away: who is still sending does not hear why it is refused.
    """
    body = bytearray()
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size <= at_most:
            body += chunk
        elif size > _READ_AWAY_AT_MOST:
            break
    return bytes(body) if size <= at_most else None
