"""The base of every expected failure.  Each feature declares its own errors beside its functions."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


class DomainError(Exception):
    """An expected failure, told to the caller as data.  Raising it rolls the transaction back.

    `code` is part of the public contract; subclasses add the facts that a caller needs to go on.  `facts` are those
    that go beside the code where the error is no type of its own.
    """

    code = "DOMAIN_ERROR"
    facts: Mapping[str, str] = MappingProxyType({})

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


@dataclass(frozen=True, slots=True)
class InputProblem:
    """One thing wrong with the input; `path` names the field as the caller wrote it, such as `orderIds.3`."""

    path: str
    message: str


class InvalidInput(DomainError):
    """The input cannot be right whatever the database holds."""

    code = "INVALID_INPUT"

    def __init__(self, *problems: InputProblem) -> None:
        shown = "; ".join(f"{problem.path}: {problem.message}" for problem in problems[:3])
        more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
        super().__init__(f"The input is not valid. {shown}{more}")
        self.problems = problems


def invalid(path: str, message: str) -> InvalidInput:
    return InvalidInput(InputProblem(path, message))
