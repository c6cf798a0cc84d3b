"""The rules: tables, transactions, transitions, events.  Knows nothing of GraphQL or HTTP.

Functions take an open `AsyncConnection` whose transaction has entered a workspace (`enter_workspace`), and never
commit: the caller owns the transaction.  What a transaction may see is decided by PostgreSQL's row level security.
"""
