"""Tests, as a mirror of the code they test.  Real PostgreSQL always: see conftest.py."""
