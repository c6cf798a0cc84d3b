"""The domain's tests share one database a worker."""

from tests.shared_database import database, engine

__all__ = ["database", "engine"]
