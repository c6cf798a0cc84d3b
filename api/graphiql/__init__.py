"""GraphiQL, served from our own files: the page for GET /graphql, and its assets, to be mounted at /graphiql.

How the files are made: source/build.mjs. Why this version: docs/decisions/0003-graphiql.md.
"""

import os
import re
from functools import cache
from pathlib import Path
from typing import Final

from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Scope

STATIC_DIRECTORY: Final = Path(__file__).parent / "static"

# ws: and wss: because Safari does not count a WebSocket to the same host as 'self'.
CONTENT_SECURITY_POLICY: Final = "; ".join(
    (
        "default-src 'self'",
        "connect-src 'self' ws: wss:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)

_SECURITY_HEADERS: Final = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

# Not left to the machine's MIME tables, which may not know fonts or may call a script text/plain.
_MEDIA_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
}

_HASHED_NAME: Final = re.compile(r"-[A-Z0-9]{8}\.\w+$")


def asks_for_graphiql(request: Request) -> bool:
    """Whether a browser opened /graphql as a page: GET or HEAD, HTML accepted by name, no `query`."""
    return (
        request.method in ("GET", "HEAD")
        and "query" not in request.query_params
        and _accepts_html(request.headers.get("accept", ""))
    )


def _accepts_html(accept: str) -> bool:
    """`*/*` does not count: programs send it that would not know what to do with a page."""
    for media_range in accept.split(","):
        media_type, *parameters = (part.strip().lower() for part in media_range.split(";"))
        if media_type == "text/html":
            return not any(re.fullmatch(r"q\s*=\s*0(\.0*)?", parameter) for parameter in parameters)
    return False


def graphiql_page() -> Response:
    """The page itself. It names its assets relative to its own address: /graphql needs them at /graphiql/."""
    return Response(
        _page_content(),
        media_type="text/html",
        headers={**_SECURITY_HEADERS, "Cache-Control": "no-cache", "Vary": "Accept"},
    )


@cache
def _page_content() -> bytes:
    return (STATIC_DIRECTORY / "index.html").read_bytes()


class _GraphiqlFiles(StaticFiles):
    def lookup_path(self, path: str) -> tuple[str, os.stat_result | None]:
        # The page is answered at /graphql only; from here its relative addresses would lead nowhere.
        if Path(path).suffix not in _MEDIA_TYPES:
            return "", None
        return super().lookup_path(path)

    def file_response(
        self,
        full_path: str | os.PathLike[str],
        stat_result: os.stat_result,
        scope: Scope,
        status_code: int = 200,
    ) -> Response:
        response = super().file_response(full_path, stat_result, scope, status_code)
        is_hashed = _HASHED_NAME.search(os.fspath(full_path)) is not None
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable" if is_hashed else "no-cache"
        response.headers["Content-Type"] = _MEDIA_TYPES[Path(full_path).suffix]
        response.headers.update(_SECURITY_HEADERS)
        return response


# Compressed, the first visit loads 0.6 MB instead of 1.7 MB; afterwards the browser has the files.
graphiql_assets: ASGIApp = GZipMiddleware(_GraphiqlFiles(directory=STATIC_DIRECTORY), compresslevel=6)
