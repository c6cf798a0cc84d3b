"""Settings, all from the environment; docs/operations.md lists them, and a test keeps that list complete."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from domain.accounts import Breaker
from domain.envelopes import KeyRing

if TYPE_CHECKING:
    from schema.limits import Limits

PREFIX = "ROBOT_JOBS_"
SHORTEST_SECRET = 32
HEARTBEATS_UNTIL_STALLED = 2.5  # who has read nothing for as long is cut off
_URL_PARAMETERS = {"host", "port", "user", "password", "database", "ssl", "target_session_attrs"}
_THIS_MACHINE = {"localhost", "127.0.0.1", "::1"}
_ORIGIN = re.compile(r"\*|https?://[^\s/?#@]+")


class SettingsError(Exception):
    """One line: which setting, what is wrong with it."""


class Settings(BaseSettings):
    """Field descriptions are the documentation: they are what docs/operations.md shows."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore")

    database_url: str | None = Field(
        None,
        validation_alias="DATABASE_URL",
        description="PostgreSQL 15 or later, as a plain role (not superuser, no BYPASSRLS). "
        "Unset: an embedded PostgreSQL is started.",
    )
    migration_database_url: str | None = Field(
        None,
        validation_alias="MIGRATION_DATABASE_URL",
        description="The same database as the role that owns the tables, for migrate, seed, token, api-key and "
        "credentials rotate. Unset: DATABASE_URL.",
    )
    home: Path = Field(Path(".robot-jobs"), description="Folder of the embedded PostgreSQL and of generated secrets.")
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    jwt_secret: SecretStr | None = Field(
        None,
        description="HS256 secret of people's tokens, 32 characters or more. "
        "Unset with the embedded PostgreSQL: one is made and kept in the home folder; otherwise it or "
        "ROBOT_JOBS_JWKS_URL is required.",
    )
    jwks_url: str | None = Field(
        None,
        description="Where the issuer of people's tokens publishes its public keys: https, or http on this machine. "
        "Tokens signed with RS256, ES256 or EdDSA are then good; it needs ROBOT_JOBS_JWT_ISSUER.",
    )
    jwt_issuer: str | None = Field(None, description="If set, tokens must carry it as `iss`.")
    jwt_audience: str | None = Field(None, description="If set, tokens must carry it as `aud`.")
    credential_keys: SecretStr | None = Field(
        None,
        description="Keys that portal passwords are kept with: version:base64 of 32 bytes, separated by commas; the "
        "newest encrypts. Unset with the embedded PostgreSQL: one is made and kept in the home folder; otherwise no "
        "passwords can be kept.",
    )
    allowed_origins: Annotated[list[str], NoDecode] = Field(
        default_factory=list,
        description="Origins of pages that may call the API from a browser, separated by commas.",
    )
    graphiql: bool | None = Field(
        None, description="Serve GraphiQL at /graphql to browsers. Unset: with `serve --dev` only."
    )
    introspection: bool | None = Field(
        None, description="Tell the schema to who asks, and suggest names. Unset: with `serve --dev` only."
    )
    max_body_bytes: int = Field(1_000_000, ge=1_000, description="Largest request body, and largest socket message.")
    body_timeout_s: float = Field(30.0, gt=0, le=600, description="How long a request's body may take to arrive.")
    max_tokens: int = Field(1_000, ge=10, le=100_000, description="Longest document, in GraphQL tokens.")
    max_depth: int = Field(15, ge=1, le=100, description="How deep fields may be nested.")
    max_aliases: int = Field(30, ge=0, le=10_000, description="Aliases in one operation.")
    max_directives: int = Field(50, ge=0, le=10_000, description="Directives in one operation.")
    max_cost: int = Field(5_000, ge=1, le=1_000_000, description="Objects that the answer to one operation can hold.")
    max_batch: int = Field(10, ge=0, le=1_000, description="Operations in one HTTP request; 0 takes no batches.")
    requests_per_minute: int = Field(
        1_200, ge=1, le=1_000_000, description="Operations of one user per minute and process."
    )
    socket_operations: int = Field(100, ge=1, le=10_000, description="Operations at once on one WebSocket.")
    socket_init_timeout_s: float = Field(
        10.0, gt=0, le=600, description="How long a new WebSocket may take to send connection_init."
    )
    socket_idle_timeout_s: float = Field(
        600.0, gt=0, le=86_400, description="How long a WebSocket may be open without a running operation."
    )
    socket_max_age_s: float = Field(
        86_400.0,
        gt=0,
        le=604_800,
        description="How long a WebSocket, or a subscription over HTTP, may be open; clients then connect again.",
    )
    socket_ping_s: float = Field(
        20.0,
        gt=0,
        le=600,
        description="How often a WebSocket's client must show that it is there; one that does not for as long again is "
        "cut off. Proxies on the way must wait for longer.",
    )
    sockets_per_user: int = Field(1_000, ge=1, le=100_000, description="WebSockets of one user at once, per process.")
    streams_per_user: int = Field(
        1_000,
        ge=1,
        le=100_000,
        description="Subscriptions of one user at once, per process: over HTTP, and all that runs on WebSockets.",
    )
    stream_heartbeat_s: float = Field(
        12.0,
        gt=0,
        le=600,
        description="How often a subscription over HTTP without news says that it lives. Proxies on the way must wait "
        "for longer.",
    )
    pool_size: int = Field(10, ge=1, le=500, description="Database connections per process.")
    pool_timeout_s: float = Field(
        1.5,
        gt=0,
        le=60,
        description="Longest wait for the database to take up an operation, in seconds: for a free connection, for a "
        "new one and for its first answer together.",
    )
    command_timeout_s: float = Field(30.0, gt=0, le=600, description="Longest single statement, in seconds.")
    event_retention_days: int = Field(
        90,
        ge=0,
        le=36_500,
        description="How long a finished job keeps its events after the last of them, and an order its changes; "
        "0 keeps them for ever.",
    )
    pause_after_errors: int = Field(
        3, ge=1, le=1_000, description="Errors of a portal in a row, after which robots leave the account alone."
    )
    probe_after_s: float = Field(
        30.0,
        gt=0,
        le=86_400,
        description="After how long such an account is tried with a single item; each time in vain doubles it, up to "
        "32 times.",
    )
    evidence_dir: Path | None = Field(
        None,
        description="Folder that robots' screenshots and texts are kept in. Unset: evidence in the home folder. "
        "Servers that share a database share it, and no two databases do.",
    )
    evidence_retention_days: int = Field(
        30, ge=0, le=36_500, description="How long evidence is kept after it has come; 0 keeps it for ever."
    )
    shutdown_timeout_s: int = Field(5, ge=0, le=60, description="How long running requests may take at a stop.")
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$", description="debug, info, warning or error.")

    def in_mode(self, *, dev: bool) -> Self:
        """With what depends on the mode decided: what is meant for developers is off elsewhere."""
        unset = {name: dev for name in ("graphiql", "introspection") if getattr(self, name) is None}
        return self.model_copy(update=unset)

    @property
    def evidence_folder(self) -> Path:
        return self.evidence_dir or self.home / "evidence"

    def limits(self) -> "Limits":
        from schema.limits import Limits  # noqa: PLC0415 -- slow to import, and not needed by every command

        return Limits(
            tokens=self.max_tokens,
            depth=self.max_depth,
            aliases=self.max_aliases,
            directives=self.max_directives,
            cost=self.max_cost,
            introspection=bool(self.introspection),
        )

    def breaker(self) -> Breaker:
        """When an account at a portal pauses, and when it is tried again."""
        return Breaker(errors=self.pause_after_errors, probe_after_s=self.probe_after_s)

    @field_validator("allowed_origins", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("allowed_origins")
    @classmethod
    def _are_origins(cls, value: list[str]) -> list[str]:
        for origin in value:
            if not _ORIGIN.fullmatch(origin):
                raise ValueError(f"{origin!r} is no origin; one looks like https://shop.example, without a path")
        return value

    @field_validator("jwt_secret")
    @classmethod
    def _long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < SHORTEST_SECRET:
            raise ValueError(f"must be {SHORTEST_SECRET} characters or longer")
        return value

    @field_validator("credential_keys")
    @classmethod
    def _is_key_ring(cls, value: SecretStr | None) -> SecretStr | None:
        """An empty one is as good as none."""
        if value is None or not value.get_secret_value().strip():
            return None
        KeyRing.parse(value.get_secret_value())
        return value

    @field_validator("jwks_url")
    @classmethod
    def _is_safe(cls, value: str | None) -> str | None:
        """Whoever stands between could let anybody in: the keys come encrypted, or from this very machine."""
        if not value:
            return None
        try:
            parts = urlsplit(value)
            host = parts.hostname
        except ValueError:
            raise ValueError("is not a URL") from None
        if not host or not (parts.scheme == "https" or (parts.scheme == "http" and host in _THIS_MACHINE)):
            raise ValueError("must begin with https://; http:// is for this machine alone")
        return value

    @field_validator("database_url", "migration_database_url")
    @classmethod
    def _for_asyncpg(cls, value: str | None) -> str | None:
        """Any usual spelling of a PostgreSQL URL will do; an empty one is as good as none."""
        if not value:
            return None
        try:
            url = make_url(value)
        except ArgumentError:
            raise ValueError("is not a database URL") from None
        if url.get_backend_name() not in ("postgresql", "postgres"):
            raise ValueError("is not the URL of a PostgreSQL database")
        if (sslmode := url.query.get("sslmode")) is not None:  # libpq's name for it, which most providers write
            url = url.difference_update_query(["sslmode"]).update_query_dict({"ssl": sslmode})
        if unknown := sorted(url.query.keys() - _URL_PARAMETERS):
            raise ValueError(f"has the parameter {unknown[0]}, which cannot be used here; leave it out")
        return url.set(drivername="postgresql+asyncpg").render_as_string(hide_password=False)


def load_settings(**given: object) -> Settings:
    """The settings from the environment; `given` ones win.  Raises SettingsError."""
    try:
        return Settings(**given)  # type: ignore[arg-type]  # pydantic checks them
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else "settings"
        variable = name if name.isupper() else f"{PREFIX}{name.upper()}"
        reason = first["msg"].removeprefix("Value error, ")
        raise SettingsError(f"{variable}: {reason}") from None
