"""Documents: read, validated and measured once, however often they are sent."""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, cast

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    GraphQLError,
    GraphQLSchema,
    Node,
    OperationDefinitionNode,
    OperationType,
    TokenKind,
    VariableNode,
    Visitor,
    parse,
    specified_rules,
    visit,
)
from graphql.error import GraphQLSyntaxError
from strawberry.extensions import SchemaExtension
from strawberry.schema.schema import validate_document

from schema.context import Context
from schema.errors import ErrorCode
from schema.limits import Limits, Measured, over_limit

KEPT = 256
LONGEST_KEPT = 20_000  # characters: few tokens may be many bytes
LONGEST_NUMBER = 400  # characters: far beyond what any field takes, and Python reads no longer ones than 4,300


class Document:
    """A document that was parsed, and what is known of it.  Raises GraphQLError for what cannot be parsed."""

    def __init__(self, text: str, max_tokens: int) -> None:
        try:
            self.node = parse(text, max_tokens=max_tokens)
        except RecursionError:
            raise _nested_too_deep() from None
        except GraphQLSyntaxError as error:
            if error.message.endswith("Parsing aborted."):
                message = f"The document is too long: the limit is {max_tokens:,} tokens."
                raise over_limit("tokens", message, found=None, allowed=max_tokens) from None
            raise
        _refuse_long_numbers(self.node)
        self.text = text
        self._operations = [each for each in self.node.definitions if isinstance(each, OperationDefinitionNode)]
        self._errors: list[GraphQLError] | None = None
        self._measured: dict[str | None, Measured] = {}
        self._below_root: dict[str | None, list[str]] = {}

    def is_subscription(self, name: str | None) -> bool:
        """Whether that operation of it is one; not if it is not clear which one is meant."""
        operation = self._find(name)
        return operation is not None and operation.operation is OperationType.SUBSCRIPTION

    def variables_below_root(self, name: str | None) -> list[str]:
        """The variables of that operation that are used elsewhere than as an argument of its root field."""
        if (known := self._below_root.get(name)) is None:
            known = self._below_root[name] = sorted(self._find_below_root(name))
        return known

    def problems(
        self, schema: GraphQLSchema, name: str | None, variables: Mapping[str, Any], limits: Limits
    ) -> list[GraphQLError]:
        """Why that operation of it cannot be executed."""
        try:
            if self._errors is None:
                self._errors = validate_document(schema, self.node, tuple(specified_rules))
            if self._errors:
                return list(self._errors)
            if name is None and len(self._operations) > 1:
                message = "The document has several operations: say in operationName which one is meant."
                return [GraphQLError(message, extensions={"code": ErrorCode.BAD_REQUEST.value})]
            problem = self._measure(schema, name).problem(limits, variables)
        except RecursionError:
            problem = _nested_too_deep()
        return [problem] if problem is not None else []

    def _find(self, name: str | None) -> OperationDefinitionNode | None:
        named = [
            each for each in self._operations if name is None or (each.name is not None and each.name.value == name)
        ]
        return named[0] if len(named) == 1 else None

    def _find_below_root(self, name: str | None) -> set[str]:
        operation = self._find(name)
        if operation is None:
            return set()
        parts: list[Node] = [each for each in self.node.definitions if isinstance(each, FragmentDefinitionNode)]
        parts += operation.directives or ()
        for selection in operation.selection_set.selections:
            if isinstance(selection, FieldNode):
                parts += selection.directives or ()
                parts += [selection.selection_set] if selection.selection_set is not None else []
            else:
                parts.append(selection)
        found = _Variables()
        for part in parts:
            visit(part, found)
        return found.names

    def _measure(self, schema: GraphQLSchema, name: str | None) -> Measured:
        if (known := self._measured.get(name)) is None:
            operation = cast(OperationDefinitionNode, self._find(name))  # valid, and not one of several
            known = self._measured[name] = Measured(schema, self.node, operation)
        return known


def _refuse_long_numbers(document: DocumentNode) -> None:
    """Raises GraphQLError for a number that is too long to be read: only reading it would tell otherwise."""
    token = document.loc.start_token if document.loc is not None else None
    while token is not None:
        if token.kind in (TokenKind.INT, TokenKind.FLOAT) and len(token.value or "") > LONGEST_NUMBER:
            message = f"The document holds a number that is longer than {LONGEST_NUMBER} characters."
            raise GraphQLError(
                message,
                source=document.loc.source if document.loc is not None else None,
                positions=[token.start],
                extensions={"code": ErrorCode.GRAPHQL_PARSE_FAILED.value},
            )
        token = token.next


def _nested_too_deep() -> GraphQLError:
    allowed = Limits().depth
    return over_limit("depth", "The operation asks too much: it is nested too deep.", found=None, allowed=allowed)


class _Variables(Visitor):
    """Collects the names of variables that are used."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def enter_variable(self, node: VariableNode, *_: object) -> None:
        self.names.add(node.name.value)


_kept = lru_cache(KEPT)(Document)


def find_document(text: str, limits: Limits) -> Document:
    """From memory where it is known.  Raises GraphQLError for what cannot be parsed."""
    make = _kept if len(text) <= LONGEST_KEPT else Document
    return make(text, limits.tokens)


class CheckedDocuments(SchemaExtension):
    """Parses, validates and measures, from memory where the document is known."""

    def on_parse(self) -> Iterator[None]:
        execution = self.execution_context
        self._document = find_document(execution.query or "", self._limits)
        execution.graphql_document = self._document.node
        yield

    def on_validate(self) -> Iterator[None]:
        execution = self.execution_context
        execution.pre_execution_errors = self._document.problems(
            execution.schema._schema,
            execution._provided_operation_name,
            execution.variables or {},
            self._limits,
        )
        yield

    @property
    def _limits(self) -> Limits:
        context = self.execution_context.context
        return context.limits if isinstance(context, Context) else Limits()
