"""What the models are made of: `UNSET`, personal data that stays out of a repr, aware times."""

from datetime import datetime
from enum import Enum
from typing import Any, Final, Literal

from attrs import Attribute


class Unset(Enum):
    """The type of `UNSET`."""

    UNSET = "UNSET"

    def __bool__(self) -> Literal[False]:
        return False

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = Unset.UNSET
"""Leaves a key out of a body; None sends null. False in a condition."""


def concealed(value: object) -> str:
    """Show that a field is set, not what to: for the ``repr`` of what may be personal data."""
    return repr(value) if value is None or value is UNSET or value == {} else "..."


def aware(_model: object, field: "Attribute[Any]", value: object) -> None:
    """Raise `ValueError` for a time without a zone."""
    if isinstance(value, datetime) and value.utcoffset() is None:
        message = f"{field.name} has no time zone: give it one, such as datetime.now(UTC)"
        raise ValueError(message)
