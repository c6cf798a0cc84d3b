"""Settings: a wrong one stops the start with one clear line; the documentation has them all."""

import re
from pathlib import Path

import pytest

from api.settings import PREFIX, SettingsError, load_settings
from api.settings import Settings as Documented
from tests.servers import ROOT, run_command

OPERATIONS = ROOT / "docs" / "operations.md"


def refusal(*arguments: str, **settings: str) -> str:
    """The one line with which the command refuses to start."""
    ended = run_command(*arguments, **settings)

    assert ended.returncode == 2, ended
    assert ended.stdout == ""
    (line,) = ended.stderr.splitlines()
    assert line.startswith("robot-jobs: ")
    return line.removeprefix("robot-jobs: ")


def test_wrong_setting_stops_the_start_with_one_line() -> None:
    said = refusal("serve", ROBOT_JOBS_PORT="abc")

    assert said == "ROBOT_JOBS_PORT: Input should be a valid integer, unable to parse string as an integer"


def test_by_default_a_caller_is_told_within_two_seconds_that_the_database_is_gone() -> None:
    """How the limit holds is tested with another one, which a busy machine does not break."""
    assert Documented.model_fields["pool_timeout_s"].default <= 1.5


def test_secret_is_required_with_a_database_url() -> None:
    said = refusal("serve", DATABASE_URL="postgresql://robot_jobs@127.0.0.1:1/robot_jobs", ROBOT_JOBS_PORT="0")

    assert said == "ROBOT_JOBS_JWT_SECRET: is required with DATABASE_URL, 32 characters or more; or ROBOT_JOBS_JWKS_URL"


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("ROBOT_JOBS_PORT", "65536", "less than or equal to 65535"),
        ("ROBOT_JOBS_PORT", "", "valid integer"),
        ("ROBOT_JOBS_JWT_SECRET", "too short: 31 characters, no 32", "must be 32 characters or longer"),
        ("DATABASE_URL", "mysql://root:hunter2@host/db", "is not the URL of a PostgreSQL database"),
        ("DATABASE_URL", "robot_jobs:hunter2", "is not a database URL"),
        ("DATABASE_URL", "postgresql://host/db?channel_binding=require", "has the parameter channel_binding"),
        ("MIGRATION_DATABASE_URL", "sqlite:///hunter2", "is not the URL of a PostgreSQL database"),
        ("ROBOT_JOBS_ALLOWED_ORIGINS", "https://good.example, shop.example", "'shop.example' is no origin"),
        ("ROBOT_JOBS_ALLOWED_ORIGINS", "https://shop.example/path", "is no origin"),
        ("ROBOT_JOBS_GRAPHIQL", "perhaps", "valid boolean"),
        ("ROBOT_JOBS_EVENT_RETENTION_DAYS", "-1", "greater than or equal to 0"),
        ("ROBOT_JOBS_EVENT_RETENTION_DAYS", "", "valid integer"),
        ("ROBOT_JOBS_POOL_SIZE", "0", "greater than or equal to 1"),
        ("ROBOT_JOBS_LOG_LEVEL", "loud", "match pattern"),
    ],
)
def test_wrong_value_is_named_and_secrets_are_not_told(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str
) -> None:
    monkeypatch.setenv(variable, value)

    with pytest.raises(SettingsError) as refused:
        load_settings()

    line = str(refused.value)
    assert line.startswith(f"{variable}: ")
    assert said in line
    assert "\n" not in line
    assert "hunter2" not in line
    assert "too short" not in line


@pytest.mark.parametrize(
    ("url", "meant"),
    [
        ("postgres://a:b@host/db", "postgresql+asyncpg://a:b@host/db"),
        ("postgresql://a:b@host:5433/db", "postgresql+asyncpg://a:b@host:5433/db"),
        ("postgresql+psycopg2://a:b@host/db", "postgresql+asyncpg://a:b@host/db"),
        ("postgresql://a:b@host/db?sslmode=require", "postgresql+asyncpg://a:b@host/db?ssl=require"),
        ("postgresql://a@/db?host=/tmp&port=5432", "postgresql+asyncpg://a@/db?host=%2Ftmp&port=5432"),
        ("", None),
    ],
)
def test_any_usual_spelling_of_a_database_url_will_do(
    monkeypatch: pytest.MonkeyPatch, url: str, meant: str | None
) -> None:
    monkeypatch.setenv("DATABASE_URL", url)

    assert load_settings().database_url == meant


def test_every_setting_is_documented_with_its_default_and_meaning() -> None:
    documented = {
        name: (default, meaning)
        for name, default, meaning in re.findall(
            r"^\| `([A-Z_]+)` \| (?:`([^|]*)`)? ?\| (.+) \|$", OPERATIONS.read_text(encoding="utf-8"), re.MULTILINE
        )
    }

    assert documented == {
        variable: (default_of(name), field.description)
        for name, field in Documented.model_fields.items()
        for variable in [str(field.validation_alias or f"{PREFIX}{name.upper()}")]
    }


def default_of(name: str) -> str:
    match Documented.model_fields[name].get_default(call_default_factory=True, validated_data={}):
        case None | []:
            return ""
        case bool() as yes:
            return str(yes).lower()
        case value:
            return str(value)


def test_every_setting_of_the_code_and_scripts_is_in_the_table() -> None:
    """A variable that is read somewhere else than in Settings would be missing from the table."""
    read = set()
    for path in [*ROOT.glob("api/**/*.py"), *ROOT.glob("schema/**/*.py"), *ROOT.glob("domain/**/*.py")]:
        read |= set(re.findall(r"ROBOT_JOBS_[A-Z_]*[A-Z]|(?:MIGRATION_)?DATABASE_URL", Path(path).read_text()))

    table = OPERATIONS.read_text(encoding="utf-8").partition("## Your own PostgreSQL")[0]
    assert read - {"ROBOT_JOBS_TOKEN"} <= set(re.findall(r"[A-Z][A-Z_]+[A-Z]", table))
