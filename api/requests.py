"""What a GraphQL request over HTTP must look like, and in which form its sender takes the answer.

After https://graphql.github.io/graphql-over-http/draft/: two media types for answers, of which the older one says
"200" of whatever is well-formed; requests are JSON, or a query in the address.
"""

import json
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from api.graphql_streams import EVENT_STREAM, MULTIPART, Form
from schema.errors import ErrorCode

GRAPHQL_RESPONSE = "application/graphql-response+json"
JSON = "application/json"
_PARAMETERS = {"query", "variables", "operationName", "extensions"}


class Refusal(Exception):
    """The request as a whole is refused."""

    def __init__(
        self,
        status: int,
        message: str,
        code: ErrorCode = ErrorCode.BAD_REQUEST,
        *,
        headers: dict[str, str] | None = None,
        facts: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.headers = headers
        self.facts = facts or {}


@dataclass(frozen=True, slots=True)
class Asked:
    """One operation, as it was sent."""

    query: str
    variables: dict[str, Any] | None
    operation_name: str | None
    extensions: dict[str, Any] | None


# ---------------------------------------------------------------------------------------------- the answer's form


@dataclass(frozen=True, slots=True)
class Accepted:
    """What the sender takes: for an answer that is one, and for a subscription; at least one of them."""

    media_type: str | None
    stream: Form | None


def accepted_forms(accept: str | None) -> Accepted:
    """In which form the sender takes the answer.  Raises Refusal (406) when it takes none of ours."""
    if accept is None or not accept.strip() or accept.strip() == "*/*":
        return Accepted(JSON, None)
    ranges = [_media_range(part) for part in accept.split(",")]
    accepted = Accepted(_response_type([(name, quality) for name, quality, _ in ranges]), _stream_form(ranges))
    if accepted.media_type is None and accepted.stream is None:
        raise Refusal(
            406,
            f"The answer can be {GRAPHQL_RESPONSE} or {JSON}, a subscription's text/event-stream or multipart/mixed; "
            "Accept takes none of them.",
        )
    return accepted


def _stream_form(ranges: list[tuple[str, float, dict[str, str]]]) -> Form | None:
    """Of two that are liked alike the first.  It must be named: who takes anything expects an answer that ends."""
    liked: list[tuple[float, Form]] = []
    for name, quality, parameters in ranges:
        if name == "text/event-stream":
            liked.append((quality, EVENT_STREAM))
        elif name == "multipart/mixed" and parameters.get("subscriptionspec") == "1.0":
            liked.append((quality, MULTIPART))
    best = max(liked, key=lambda each: each[0], default=(0.0, None))
    return best[1] if best[0] > 0 else None


def _response_type(ranges: list[tuple[str, float]]) -> str | None:
    """Who does not care gets what clients of old expect; of two that are liked alike, the newer one."""
    liked = {JSON: (0.0, 0, 0), GRAPHQL_RESPONSE: (0.0, 0, 0)}
    for prefers, media_type in enumerate((JSON, GRAPHQL_RESPONSE)):
        for names, is_exact in ((media_type, 1), ("application/*", 0), ("*/*", 0)):  # the most exact range decides
            if found := [quality for name, quality in ranges if name == names]:
                liked[media_type] = (max(found), is_exact, prefers if is_exact else -prefers)
                break
    best = max(liked, key=lambda media_type: liked[media_type])
    return best if liked[best][0] > 0 else None


def _media_range(text: str) -> tuple[str, float, dict[str, str]]:
    """Its name, quality and parameters."""
    name, *rest = (part.strip() for part in text.split(";"))
    pairs = (parameter.partition("=") for parameter in rest)
    parameters = {key.strip().lower(): value.strip().strip("\"'") for key, _, value in pairs}
    try:
        quality = float(parameters.get("q", 1.0))
    except ValueError:
        quality = 0.0
    return name.lower(), quality, parameters


# ---------------------------------------------------------------------------------------------- the request


async def read_request(request: Request, *, max_batch: int) -> Asked | list[Asked]:
    """What is asked: one operation, or several at once.  Raises Refusal."""
    if request.method == "GET":
        return _from_address(request)
    if content_type_of(request) != JSON:
        raise Refusal(415, f"Send the request as {JSON}.", headers={"Accept": JSON})
    try:
        data = decode_json(await request.body())
    except ValueError as error:
        raise Refusal(400, f"The body cannot be read as JSON in UTF-8: {error}.") from None
    if not isinstance(data, list):
        return _asked(data, "The body")
    if max_batch < 2:
        raise Refusal(400, "Batches are switched off here: send one operation at a time.")
    if not data:
        raise Refusal(400, "The batch is empty.")
    if len(data) > max_batch:
        message = f"The batch has {len(data):,} operations; {max_batch} are allowed."
        raise Refusal(400, message, ErrorCode.TOO_MANY_OPERATIONS, facts={"found": len(data), "allowed": max_batch})
    return [_asked(each, f"Operation {number} of the batch") for number, each in enumerate(data, start=1)]


def decode_json(data: str | bytes) -> Any:
    """JSON in UTF-8, and nothing that some readers take for it.  Raises ValueError: why not, in a few words."""
    try:
        text = data.decode("utf-8-sig") if isinstance(data, bytes) else data
        return json.loads(
            text, object_pairs_hook=_without_repetition, parse_int=_whole_number, parse_constant=_no_number
        )
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{error.msg} at character {error.pos}") from None


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Two readers may take different ones of two values; then neither is meant."""
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("an object has a key twice")
    return made


def _whole_number(digits: str) -> int:
    try:
        return int(digits)
    except ValueError:  # Python reads 4,300 digits, and advises to change that
        raise ValueError("a number has too many digits") from None


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def content_type_of(request: Request) -> str:
    """The media type of what was sent, which is plain and, if it is text, in UTF-8.  Raises Refusal."""
    media_type, *parameters = (part.strip().lower() for part in request.headers.get("content-type", "").split(";"))
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "charset" and value.strip().strip('"') not in ("utf-8", "utf8"):
            raise Refusal(415, "Send the request in UTF-8.")
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise Refusal(415, "Send the request without a content encoding.")
    return media_type


def _from_address(request: Request) -> Asked:
    given = [(name, value) for name, value in request.query_params.multi_items() if name in _PARAMETERS]
    parameters: dict[str, Any] = {name: value for name, value in given if value}
    if len(given) != len({name for name, _ in given}):
        raise Refusal(400, "A parameter is given twice.")
    for name in ("variables", "extensions"):
        if name in parameters:
            try:
                parameters[name] = decode_json(parameters[name])
            except ValueError as error:
                raise Refusal(400, f"The parameter {name} cannot be read as JSON: {error}.") from None
    return _asked(parameters, "The address")


def _asked(data: Any, where: str) -> Asked:
    if not isinstance(data, dict):
        raise Refusal(400, f"{where} must be a JSON object with a query.")
    query, name = data.get("query"), data.get("operationName")
    if not isinstance(query, str) or not query.strip():
        raise Refusal(400, f"{where} must have a query, as text.")
    if not isinstance(name, str | None):
        raise Refusal(400, f"{where} has an operationName that is neither text nor null.")
    for key in ("variables", "extensions"):
        if not isinstance(data.get(key), dict | None):
            raise Refusal(400, f"{where} has {key} that are neither an object nor null.")
    return Asked(query, data.get("variables"), name or None, data.get("extensions"))
