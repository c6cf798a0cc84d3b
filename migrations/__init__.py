"""Alembic migrations: tables, constraints, row level security; and what runs them."""
