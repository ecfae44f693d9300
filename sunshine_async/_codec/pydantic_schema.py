"""Schema of a model for Pydantic 2, and so for FastAPI. Imported only by Pydantic's request.

- A value is checked field by field under the names on the wire, so an error has the field in
  ``loc``. The strict reader of bodies then makes the model, for answers' models too.
- A model in a result is written as `unstructure` writes a model, also in a place declared as `Any`.
- The JSON schema has each model once, with the names on the wire. Further keys are allowed.
"""

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from datetime import datetime
from functools import cache
from types import NoneType
from typing import TYPE_CHECKING, Any, Final, cast, get_args, get_origin

import attrs

from sunshine_async._codec.converter import structure_body, unstructure
from sunshine_async._codec.model import UnixTime, fields_by_wire
from sunshine_async._codec.unions import is_union, members_of

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import SchemaSerializer
    from pydantic_core.core_schema import CoreSchema

_UNDER_WAY: Final[ContextVar[frozenset[type]]] = ContextVar("under_way", default=frozenset())
"""The models whose schemas are being made: such a model is referred to."""


def model_schema(kind: type[object], handler: "GetCoreSchemaHandler") -> "CoreSchema":
    """Return the schema of the model *kind*."""
    from pydantic_core import core_schema  # noqa: PLC0415 - Pydantic is no dependency

    reference = f"{kind.__module__}.{kind.__qualname__}:{id(kind)}"
    under_way = _UNDER_WAY.get()
    if kind in under_way:
        return core_schema.definition_reference_schema(reference)
    token = _UNDER_WAY.set(under_way | {kind})
    try:
        fields = attrs.fields_dict(attrs.resolve_types(cast("Any", kind)))
        check = core_schema.typed_dict_schema(
            {
                wire: core_schema.typed_dict_field(
                    _value_schema(fields[name].type, handler),
                    required=fields[name].default is attrs.NOTHING,
                )
                for wire, name in fields_by_wire(kind).items()
            },
            extra_behavior="allow",
        )
    finally:
        _UNDER_WAY.reset(token)

    def read(value: object, check_fields: Callable[[Any], object]) -> object:
        if isinstance(value, kind):
            return value
        check_fields(value)
        return structure_body(value, kind)

    return core_schema.no_info_wrap_validator_function(
        read,
        check,
        ref=reference,
        serialization=core_schema.plain_serializer_function_ser_schema(unstructure),
    )


@cache
def untyped_serializer() -> "SchemaSerializer":
    """Return the serializer of any model in a place without a type."""
    from pydantic_core import SchemaSerializer, core_schema  # noqa: PLC0415

    write = core_schema.plain_serializer_function_ser_schema(unstructure)
    return SchemaSerializer(core_schema.any_schema(serialization=write))


def _value_schema(kind: Any, handler: "GetCoreSchemaHandler") -> "CoreSchema":
    """Return the schema of a field, or of an item of a list, declared as a *kind*."""
    from pydantic_core import core_schema  # noqa: PLC0415

    members = members_of(kind)
    if len(members) > 1:
        each: list[Any] = [_value_schema(member, handler) for member in members]
        schema = _checked(kind, core_schema.union_schema(each))
    elif attrs.has(members[0]):
        schema = handler.generate_schema(members[0])
    elif get_origin(members[0]) is list:
        [item] = get_args(members[0])
        schema = core_schema.list_schema(_value_schema(item, handler))
    else:
        schema = _checked(members[0], _plain_schema(members[0]))
    nullable = is_union(kind) and NoneType in get_args(kind)
    return core_schema.nullable_schema(schema) if nullable else schema


def _plain_schema(kind: Any) -> "CoreSchema":
    """Return the schema of a *kind* without models, for the JSON schema."""
    from pydantic_core import core_schema  # noqa: PLC0415

    plain: dict[Any, Callable[..., CoreSchema]] = {
        str: core_schema.str_schema,
        int: core_schema.int_schema,
        float: core_schema.float_schema,
        bool: core_schema.bool_schema,
        datetime: core_schema.datetime_schema,
        UnixTime: core_schema.float_schema,
        Mapping: core_schema.dict_schema,
    }
    make = plain.get(get_origin(kind) or kind)
    return core_schema.any_schema() if make is None else make()


def _checked(kind: Any, schema: "CoreSchema") -> "CoreSchema":
    """Return *schema* with the check of our own strict reader, which alone decides."""
    from pydantic_core import core_schema  # noqa: PLC0415

    def check(value: Any, _: object) -> Any:
        structure_body(value, kind)
        return value

    return core_schema.no_info_wrap_validator_function(check, schema)
