"""What an operation asks of its fields: for a resolver that reads a thing and what hangs on it in one snapshot."""

from collections.abc import Iterator
from typing import Any

from graphql import (
    FieldNode,
    FragmentSpreadNode,
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

from schema.context import Info


def find_selected(info: Info, name: str) -> Iterator[dict[str, Any]]:
    """The arguments of each selection of the field `name` on the object that the running resolver answers with.

    Fragments, aliases, variables, @skip and @include count as in execution; values are coerced, keys are GraphQL's.
    """
    raw = info._raw_info  # Strawberry's own selected_fields leaves literals as text
    answered = get_named_type(raw.return_type)
    if not isinstance(answered, GraphQLObjectType):
        raise TypeError(f"{answered} has no fields of its own")
    variables = VariableValues(sources={}, coerced=info.variable_values)
    for node in raw.field_nodes:
        for selected in _fields(raw, variables, node.selection_set):
            if selected.name.value == name:
                yield get_argument_values(answered.fields[name], selected, variables)


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
