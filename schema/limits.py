"""Limits on what one operation may ask, checked when it is known to be valid and before anything is read.

All are measured in time linear in the document: a fragment is measured once, however often it is spread.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from graphql import (
    DirectiveNode,
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNamedType,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLUnionType,
    InlineFragmentNode,
    ListValueNode,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
    ValueNode,
    VariableNode,
    get_named_type,
    value_from_ast_untyped,
)

from domain.pages import FIRST_AT_MOST
from domain.robot_jobs import ITEMS_PAGE_AT_MOST
from schema.errors import ErrorCode

LONGEST_FOLLOWED = 20_000
"""Characters of a subscription's document and variables together."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one operation may ask at most, and whether the schema may be asked for."""

    tokens: int = 1_000
    depth: int = 15
    aliases: int = 30
    directives: int = 50
    cost: int = 5_000
    introspection: bool = True


def over_limit(limit: str, message: str, *, found: int | None, allowed: int) -> GraphQLError:
    """The refusal of an operation that asks too much."""
    facts: dict[str, Any] = {"limit": limit, "allowed": allowed}
    if found is not None:
        facts["found"] = min(found, 2**31 - 1)  # what fragments multiply has no end; a client's numbers have
    return GraphQLError(message, extensions={"code": ErrorCode.QUERY_TOO_COMPLEX.value, **facts})


# ---------------------------------------------------------------------------------------------- how long lists are


@dataclass(frozen=True, slots=True)
class Length:
    """How many objects a list holds: what its arguments say, else `default`; never more than `at_most`."""

    default: int
    at_most: int
    arguments: tuple[str, ...] = ()


PAGE = Length(20, FIRST_AT_MOST, ("first", "last"))
LIST = Length(10, 10)
LENGTHS = {
    "Query.nodes": Length(FIRST_AT_MOST, FIRST_AT_MOST, ("ids",)),
    "RobotJob.items": Length(100, ITEMS_PAGE_AT_MOST, ("first", "last")),
    "RobotJob.events": Length(20, FIRST_AT_MOST, ("first",)),
    "RobotJobItem.attempts": Length(2, 2),  # most items need one
    "Attempt.evidence": Length(2, 2),  # a picture and a text, where something went wrong
    "RobotJobsChanged.jobs": Length(100, 100),
    "DispatchPreview.orders": Length(100, 100),
    "ValidateCitiesResults.results": Length(100, 100),
    "CreateRobotJobSuccess.refused": Length(100, 100),
    "CreateRobotJobSuccess.warned": Length(100, 100),
    "OrdersRefused.refused": Length(100, 100),
    "ImportOrdersSuccess.imported": Length(100, 100),
    "ImportOrdersSuccess.refused": Length(100, 100),
    "RetryFailedItemsSuccess.items": Length(100, 100),
    "UpdateJobItemResultsSuccess.results": Length(100, 100),
}
# What the schema tells of itself has a limit of its own on its depth; its length is what it is.
_INTROSPECTION_COSTS = {"__schema": 1_000, "__type": 100}


# ---------------------------------------------------------------------------------------------- measuring


class Measured:
    """One operation of a valid document, measured."""

    def __init__(self, schema: GraphQLSchema, document: DocumentNode, operation: OperationDefinitionNode) -> None:
        self._schema = schema
        self._operation = operation
        self._fragments = {
            definition.name.value: definition
            for definition in document.definitions
            if isinstance(definition, FragmentDefinitionNode)
        }
        self._sizing = frozenset(_sizing_variables(document))
        self._defaults = {
            defined.variable.name.value: value_from_ast_untyped(defined.default_value)
            for defined in operation.variable_definitions or ()
            if defined.default_value is not None
        }
        self._costs: dict[tuple[Any, ...], int] = {}
        counted = _Counts(self._fragments).of(operation.selection_set)
        self.depth = counted.depth
        self.aliases = counted.aliases
        self.directives = counted.directives + len(operation.directives or ())
        self.asks_for_schema = counted.asks_for_schema

    def cost(self, variables: Mapping[str, Any]) -> int:
        """How many objects the answer can hold at most; kept by those variables that decide it."""
        given = {name: _sized(variables.get(name, self._defaults.get(name))) for name in self._sizing}
        key = tuple(given.values())
        if (known := self._costs.get(key)) is None:
            if len(self._costs) >= _COSTS_KEPT:
                self._costs.clear()
            root = self._schema.get_root_type(self._operation.operation)
            known = _Cost(self._schema, self._fragments, given).of(self._operation.selection_set, root)
            self._costs[key] = known
        return known

    def problem(self, limits: Limits, variables: Mapping[str, Any]) -> GraphQLError | None:
        """Why it is refused, or None."""
        if self.asks_for_schema and not limits.introspection:
            code = ErrorCode.GRAPHQL_VALIDATION_FAILED.value
            return GraphQLError("Introspection is switched off here.", extensions={"code": code})
        for name, found, allowed in (
            ("depth", self.depth, limits.depth),
            ("aliases", self.aliases, limits.aliases),
            ("directives", self.directives, limits.directives),
        ):
            if found > allowed:
                what = "fields are nested" if name == "depth" else f"{name} are used"
                how = f"{found:,} deep" if name == "depth" else f"{found:,} times"
                message = f"The operation asks too much: {what} {how}, and the limit is {allowed:,}."
                return over_limit(name, message, found=found, allowed=allowed)
        if (cost := self.cost(variables)) > limits.cost:
            message = (
                f"The operation asks too much: its answer can hold {cost:,} objects, and the limit is {limits.cost:,}. "
                "Ask for smaller pages (first, last), or for less within each."
            )
            return over_limit("cost", message, found=cost, allowed=limits.cost)
        return None


_COSTS_KEPT = 64


@dataclass(frozen=True, slots=True)
class _Count:
    depth: int = 0
    aliases: int = 0
    directives: int = 0
    asks_for_schema: bool = False


class _Counts:
    """Depth, aliases and directives, fragments in place of their spreads."""

    def __init__(self, fragments: Mapping[str, FragmentDefinitionNode]) -> None:
        self._fragments = fragments
        self._known: dict[str, _Count] = {}

    def of(self, selection_set: SelectionSetNode | None) -> _Count:
        depth = aliases = directives = 0
        asks_for_schema = False
        for selection in selection_set.selections if selection_set is not None else ():
            directives += len(selection.directives or ())
            match selection:
                case FragmentSpreadNode():
                    inner = self._of_fragment(selection.name.value)
                case FieldNode() | InlineFragmentNode():
                    inner = self.of(selection.selection_set)
                case _:  # pragma: no cover -- there is no fourth kind
                    raise TypeError(selection)
            aliases += inner.aliases
            directives += inner.directives
            asks_for_schema |= inner.asks_for_schema
            inner_depth = inner.depth
            if isinstance(selection, FieldNode):
                aliases += selection.alias is not None
                is_schema = selection.name.value in _INTROSPECTION_COSTS
                asks_for_schema |= is_schema
                inner_depth = 1 if is_schema else inner_depth + 1
            depth = max(depth, inner_depth)
        return _Count(depth, aliases, directives, asks_for_schema)

    def _of_fragment(self, name: str) -> _Count:
        if (known := self._known.get(name)) is None:
            fragment = self._fragments[name]
            known = self._known[name] = self.of(fragment.selection_set)
        return known


class _Cost:
    """The number of objects that an answer can hold, given what decides the lengths of its lists."""

    def __init__(
        self, schema: GraphQLSchema, fragments: Mapping[str, FragmentDefinitionNode], variables: Mapping[str, Any]
    ) -> None:
        self._schema = schema
        self._fragments = fragments
        self._variables = variables
        self._known: dict[tuple[str, str], int] = {}

    def of(self, selection_set: SelectionSetNode | None, named: GraphQLNamedType | None) -> int:
        """Of an object of an abstract type: of the dearest type that it can be."""
        match named:
            case GraphQLObjectType():
                return self._of_object(selection_set, named)
            case GraphQLInterfaceType() | GraphQLUnionType():
                return max(self._of_object(selection_set, each) for each in self._schema.get_possible_types(named))
        return 0

    def _of_object(self, selection_set: SelectionSetNode | None, parent: GraphQLObjectType) -> int:
        total = 0
        for selection in selection_set.selections if selection_set is not None else ():
            if self._is_left_out(selection):
                continue
            match selection:
                case FieldNode():
                    total += self._of_field(selection, parent)
                case InlineFragmentNode(type_condition=condition):
                    if condition is None or self._fits(parent, condition.name.value):
                        total += self._of_object(selection.selection_set, parent)
                case FragmentSpreadNode():
                    total += self._of_fragment(selection.name.value, parent)
        return total

    def _of_fragment(self, name: str, parent: GraphQLObjectType) -> int:
        key = name, parent.name
        if (known := self._known.get(key)) is None:
            fragment = self._fragments[name]
            fits = self._fits(parent, fragment.type_condition.name.value)
            known = self._known[key] = self._of_object(fragment.selection_set, parent) if fits else 0
        return known

    def _of_field(self, node: FieldNode, parent: GraphQLObjectType) -> int:
        name = node.name.value
        if name.startswith("__"):
            return _INTROSPECTION_COSTS.get(name, 0)
        field = parent.fields[name]
        named = get_named_type(field.type)
        inner = self.of(node.selection_set, named)
        if named.name.endswith("Connection"):  # the page is read, whatever is asked of it
            return self._length(node, parent, field) * max(1, inner)
        if named.name.endswith("Edge"):  # one with each node
            return max(1, inner)
        if named.name == "PageInfo" or not isinstance(
            named, GraphQLObjectType | GraphQLInterfaceType | GraphQLUnionType
        ):
            return 0
        return self._length(node, parent, field) * (1 + inner)

    def _length(self, node: FieldNode, parent: GraphQLObjectType, field: GraphQLField) -> int:
        """The page of a connection is counted with the connection, not with its nodes."""
        length = LENGTHS.get(f"{parent.name}.{node.name.value}")
        if length is None:
            if get_named_type(field.type).name.endswith("Connection"):
                length = PAGE
            elif _is_list(field) and not parent.name.endswith("Connection"):
                length = LIST
            else:
                return 1
        asked = [
            size
            for argument in node.arguments or ()
            if argument.name.value in length.arguments and (size := self._size(argument.value)) is not None
        ]
        return min(max(asked), length.at_most) if asked else length.default

    def _size(self, value: ValueNode) -> int | None:
        match value:
            case VariableNode():
                return _as_int(self._variables.get(value.name.value))
            case ListValueNode():
                return len(value.values)
        return _as_int(_sized(value_from_ast_untyped(value)))

    def _is_left_out(self, selection: SelectionNode) -> bool:
        return any(
            self._condition(directive) is (directive.name.value == "skip")
            for directive in selection.directives or ()
            if directive.name.value in ("skip", "include")
        )

    def _condition(self, directive: DirectiveNode) -> Any:
        for argument in directive.arguments or ():
            if isinstance(argument.value, VariableNode):
                return self._variables.get(argument.value.name.value)
            return value_from_ast_untyped(argument.value)
        return None

    def _fits(self, parent: GraphQLObjectType, condition: str) -> bool:
        if parent.name == condition:
            return True
        named = self._schema.type_map[condition]
        return isinstance(named, GraphQLInterfaceType | GraphQLUnionType) and self._schema.is_sub_type(named, parent)


def _is_list(field: GraphQLField) -> bool:
    of = field.type.of_type if isinstance(field.type, GraphQLNonNull) else field.type
    return isinstance(of, GraphQLList)


def _sized(value: Any) -> Any:
    """What of a variable's value decides a cost: a number, a list's length, yes or no."""
    match value:
        case list():
            return len(value)
        case bool() | int() | None:
            return value
        case float() if value.is_integer():
            return int(value)
        case str():
            return 1  # a single element stands for a list of one
    return None


def _as_int(value: Any) -> int | None:
    return max(value, 0) if isinstance(value, int) and not isinstance(value, bool) else None


_SIZING = {"if", *PAGE.arguments, *(argument for length in LENGTHS.values() for argument in length.arguments)}


def _sizing_variables(document: DocumentNode) -> Iterable[str]:
    """The variables that decide lengths, or whether a field is asked for at all."""
    todo: list[Any] = [definition for definition in document.definitions if hasattr(definition, "selection_set")]
    while todo:
        node = todo.pop()
        for directive in getattr(node, "directives", None) or ():
            todo.append(directive)
        for argument in getattr(node, "arguments", None) or ():
            if argument.name.value in _SIZING and isinstance(argument.value, VariableNode):
                yield argument.value.name.value
        if (selection_set := getattr(node, "selection_set", None)) is not None:
            todo.extend(selection_set.selections)
