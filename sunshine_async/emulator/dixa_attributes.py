"""Custom attributes of Dixa: definitions, and validation of values."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast
from uuid import uuid4

from sunshine_async.emulator.dixa_store import is_uuid, time_now
from sunshine_async.emulator.fields import OBJECTS, TEXT, Schema, object_schema

_FLAG: Final = Schema(type="boolean")
_TIME: Final = Schema(type="string", format="time")
DEFINITION: Final = object_schema(
    "id", "identifier", "label", "inputDefinition",
    id=TEXT,
    entityType=TEXT,
    identifier=TEXT,
    label=TEXT,
    inputDefinition=object_schema("_type", _type=TEXT, placeholder=TEXT, options=OBJECTS),
    description=TEXT,
    createdAt=_TIME,
    updatedAt=_TIME,
    isRequired=_FLAG,
    isArchived=_FLAG,
    isDeactivated=_FLAG,
)  # fmt: skip
_OPTION: Final = object_schema(
    "value",
    id=TEXT,
    label=TEXT,
    value=Schema(type="string", min_length=1),
    nestedOptions=OBJECTS,
    isDeactivated=_FLAG,
    orderIndex=Schema(type="integer"),
)


def parse_definition(data: Any) -> Mapping[str, Any]:
    """Return a definition in the format of the service, with defaults for missing fields.

    The defaults: an active attribute of end users (``Contact``), optional, defined now. An option
    needs only a ``value``. Raise `ValueError` for an invalid definition.
    """
    definition = DEFINITION.validate_strictly(data)
    kind = definition["inputDefinition"]["_type"]
    for problem, holds in {
        "id should be a UUID": not is_uuid(definition["id"]),
        "entityType should be Contact or Conversation": (
            definition.get("entityType", "Contact") not in ("Contact", "Conversation")
        ),
        "inputDefinition._type should be Text or Select": kind not in ("Text", "Select"),
    }.items():
        if holds:
            raise ValueError(problem)
    given = definition["inputDefinition"]
    select = {"options": _options(given.get("options", ()))} if kind == "Select" else {}
    return {
        "entityType": "Contact",
        "createdAt": time_now(),
        "isRequired": False,
        "isArchived": False,
        "isDeactivated": False,
        **definition,
        "id": definition["id"].lower(),
        "inputDefinition": {**given, **select},
    }


def is_valid_value(definition: Mapping[str, Any], value: object) -> bool:
    """Return True if an end user can have *value* for an attribute; None clears the attribute.

    A Select takes the path of option values from a parent to a child.
    """
    if definition["entityType"] != "Contact":
        return False
    if value is None:
        return True
    if definition["inputDefinition"]["_type"] == "Text":
        return isinstance(value, str)
    steps = cast("list[object]", value)
    return isinstance(value, list) and _is_path(steps, definition["inputDefinition"]["options"])


def _options(given: Sequence[Any]) -> list[dict[str, Any]]:
    return [
        {
            "id": str(uuid4()),
            "label": option["value"],
            "isDeactivated": False,
            "orderIndex": index,
            **option,
            "nestedOptions": _options(option.get("nestedOptions", ())),
        }
        for index, option in enumerate(map(_OPTION.validate_strictly, given))
    ]


def _is_path(steps: Sequence[object], options: Sequence[Mapping[str, Any]]) -> bool:
    for step in steps:
        option = next((option for option in options if option["value"] == step), None)
        if option is None:
            return False
        options = option["nestedOptions"]
    return bool(steps)
