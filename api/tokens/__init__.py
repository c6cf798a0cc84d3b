"""Tokens: of people, JWTs signed with a secret or with the keys of an issuer; of robots, API keys."""

from api.tokens.issuer_keys import IssuerKeys
from api.tokens.load import load_tokens
from api.tokens.verify import Tokens

__all__ = ["IssuerKeys", "Tokens", "load_tokens"]
