"""What goes wrong with the embedded PostgreSQL."""


class EmbeddedPostgresError(Exception):
    """PostgreSQL cannot be started. The message is one line: what, which, and what to do next."""
