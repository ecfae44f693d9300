"""Custom attributes of Dixa: definitions, and the values that fit them."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast
from uuid import uuid4

from sunshine_async.emulator.dixa_store import is_id, time_now
from sunshine_async.emulator.fields import Field

_TEXT: Final = Field(type="string")
_FLAG: Final = Field(type="boolean")
_TIME: Final = Field(type="string", format="time")
DEFINITION: Final = Field(
    type="object",
    fields={
        "id": _TEXT,
        "entityType": _TEXT,
        "identifier": _TEXT,
        "label": _TEXT,
        "inputDefinition": Field(
            type="object",
            fields={
                "_type": _TEXT,
                "placeholder": _TEXT,
                "options": Field(type="array", items=Field(type="object")),
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
_OPTION: Final = Field(
    type="object",
    fields={
        "id": _TEXT,
        "label": _TEXT,
        "value": Field(type="string", min_length=1),
        "nestedOptions": Field(type="array", items=Field(type="object")),
        "isDeactivated": _FLAG,
        "orderIndex": Field(type="integer"),
    },
    required=("value",),
)


def definition(data: Any) -> Mapping[str, Any]:
    """Return a definition as the service shows it, with defaults for fields that *data* lacks.

    The defaults: an active attribute of end users (``Contact``), optional, defined now. An option
    needs a ``value`` only. Raise `ValueError` for what can't be.
    """
    one = DEFINITION.exact(data)
    kind = one["inputDefinition"]["_type"]
    for problem, is_so in {
        "id should be a UUID": not is_id(one["id"]),
        "entityType should be Contact or Conversation": (
            one.get("entityType", "Contact") not in ("Contact", "Conversation")
        ),
        "inputDefinition._type should be Text or Select": kind not in ("Text", "Select"),
    }.items():
        if is_so:
            raise ValueError(problem)
    given = one["inputDefinition"]
    select = {"options": _options(given.get("options", ()))} if kind == "Select" else {}
    return {
        "entityType": "Contact",
        "createdAt": time_now(),
        "isRequired": False,
        "isArchived": False,
        "isDeactivated": False,
        **one,
        "id": one["id"].lower(),
        "inputDefinition": {**given, **select},
    }


def fits(defined: Mapping[str, Any], value: object) -> bool:
    """Return whether an end user can have *value* for the attribute *defined*; None clears it.

    A Select takes the path of option values from a parent to a child.
    """
    if defined["entityType"] != "Contact":
        return False
    if value is None:
        return True
    if defined["inputDefinition"]["_type"] == "Text":
        return isinstance(value, str)
    steps = cast("list[object]", value)
    return isinstance(value, list) and _is_path(steps, defined["inputDefinition"]["options"])


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
        for index, option in enumerate(map(_OPTION.exact, given))
    ]


def _is_path(steps: Sequence[object], options: Sequence[Mapping[str, Any]]) -> bool:
    for step in steps:
        option = next((one for one in options if one["value"] == step), None)
        if option is None:
            return False
        options = option["nestedOptions"]
    return bool(steps)
