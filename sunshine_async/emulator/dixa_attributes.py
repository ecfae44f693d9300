"""Custom attributes of Dixa: definitions, and validation of values."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast
from uuid import uuid4

from sunshine_async.emulator.dixa_store import is_uuid, time_now
from sunshine_async.emulator.fields import Schema

_TEXT: Final = Schema(type="string")
_FLAG: Final = Schema(type="boolean")
_TIME: Final = Schema(type="string", format="time")
DEFINITION: Final = Schema(
    type="object",
    fields={
        "id": _TEXT,
        "entityType": _TEXT,
        "identifier": _TEXT,
        "label": _TEXT,
        "inputDefinition": Schema(
            type="object",
            fields={
                "_type": _TEXT,
                "placeholder": _TEXT,
                "options": Schema(type="array", items=Schema(type="object")),
            },
            required=("_type",),
        ),
        "description": _TEXT,
        "createdAt": _TIME,
        "updatedAt": _TIME,
        "isRequired": _FLAG,
        "isArchived": _FLAG,
        "isDeactivated": _FLAG,
    },
    required=("id", "identifier", "label", "inputDefinition"),
)
_OPTION: Final = Schema(
    type="object",
    fields={
        "id": _TEXT,
        "label": _TEXT,
        "value": Schema(type="string", min_length=1),
        "nestedOptions": Schema(type="array", items=Schema(type="object")),
        "isDeactivated": _FLAG,
        "orderIndex": Schema(type="integer"),
    },
    required=("value",),
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
