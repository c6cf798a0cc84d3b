"""What an operation asks of its fields: for a resolver that reads a thing and what hangs on it in one snapshot."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from graphql import (
    FieldNode,
    FragmentSpreadNode,
    GraphQLField,
    GraphQLIncludeDirective,
    GraphQLObjectType,
    GraphQLResolveInfo,
    GraphQLSkipDirective,
    InlineFragmentNode,
    SelectionNode,
    SelectionSetNode,
    VariableValues,
    get_argument_values,
    get_directive_values,
    get_named_type,
)
from strawberry.types.arguments import convert_arguments

from schema.context import Info


@dataclass(frozen=True, slots=True)
class Selected:
    """A selection of a field: its arguments as the field's resolver gets them, and the fields selected within it."""

    arguments: dict[str, Any]
    names: frozenset[str]


def find_selected(info: Info, name: str) -> Iterator[Selected]:
    """Each selection of the field `name` on the object that the running resolver answers with.

    Fragments, aliases, variables, @skip and @include count as in execution.
    """
    raw = info._raw_info  # Strawberry's own selected_fields leaves literals as text
    answered = get_named_type(raw.return_type)
    if not isinstance(answered, GraphQLObjectType):
        raise TypeError(f"{answered} has no fields of its own")
    variables = VariableValues(sources={}, coerced=info.variable_values)
    for selected in _named(raw, variables, name):
        within = frozenset(field.name.value for field in _fields(raw, variables, selected.selection_set))
        yield Selected(_arguments(info, answered.fields[name], selected, variables), within)


def is_selected(info: Info, name: str) -> bool:
    """Whether the object that the running resolver answers with is asked for the field `name`."""
    raw = info._raw_info
    return any(True for _ in _named(raw, VariableValues(sources={}, coerced=info.variable_values), name))


def _arguments(info: Info, field: GraphQLField, selected: FieldNode, variables: VariableValues) -> dict[str, Any]:
    converter = info.schema.schema_converter
    return convert_arguments(
        get_argument_values(field, selected, variables),
        field.extensions[converter.DEFINITION_BACKREF].arguments,
        converter.scalar_registry,
        converter.config,
        info,
    )


def _named(raw: GraphQLResolveInfo[Any], variables: VariableValues, name: str) -> Iterator[FieldNode]:
    for node in raw.field_nodes:
        for selected in _fields(raw, variables, node.selection_set):
            if selected.name.value == name:
                yield selected


def _fields(
    raw: GraphQLResolveInfo[Any], variables: VariableValues, selection_set: SelectionSetNode | None
) -> Iterator[FieldNode]:
    for selection in selection_set.selections if selection_set is not None else ():
        if not _is_included(selection, variables):
            continue
        match selection:
            case FieldNode():
                yield selection
            case InlineFragmentNode():
                yield from _fields(raw, variables, selection.selection_set)
            case FragmentSpreadNode():
                yield from _fields(raw, variables, raw.fragments[selection.name.value].selection_set)


def _is_included(selection: SelectionNode, variables: VariableValues) -> bool:
    skip = get_directive_values(GraphQLSkipDirective, selection, variables)
    include = get_directive_values(GraphQLIncludeDirective, selection, variables)
    return not (skip and skip["if"]) and not (include and not include["if"])
