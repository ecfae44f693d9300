"""What the models are made of: `UNSET`, personal data that stays out of a repr, times, names."""

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Final, Literal, Self

from attrs import Attribute, field, frozen


class Unset(Enum):
    """The type of `UNSET`."""

    UNSET = "UNSET"

    def __bool__(self) -> Literal[False]:
        return False

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = Unset.UNSET
"""Leaves a key out of a body; None sends null. False in a condition."""


WIRE: Final = "wire"
"""In the metadata of a field: its name on the wire, where that isn't its own in camelCase."""
AS_ID: Final[Mapping[str, str]] = {WIRE: "_id"}
TAG: Final = "_type"
AS_TAG: Final[Mapping[str, str]] = {WIRE: TAG}
"""Of the field whose default says which member of a union a model is; None: any other."""
TAG_ALIAS: Final = "also"
"""In the metadata of such a field: another name that the service has for the same member."""
PLACEHOLDER: Final = "stands in"
"""In the metadata of the field of "any other": this member also stands for a value that is no object.

So a list of them keeps the places of its items.
"""


class UnixTime(datetime):
    """A time in UTC that a service writes as seconds since 1970; it goes back out as it came."""

    seconds: float | None = None
    """What the service wrote, where it did."""

    @classmethod
    def of(cls, seconds: float) -> Self:
        """Return the time; raise an error of `datetime` where no calendar has it."""
        at = cls.fromtimestamp(seconds, UTC)
        at.seconds = seconds
        return at

    def written(self) -> float:
        """Return what goes on the wire."""
        return self.timestamp() if self.seconds is None else self.seconds


def concealed(value: object) -> str:
    """Show that a field is set, not what to: for the ``repr`` of what may be personal data."""
    return repr(value) if value is None or value is UNSET or value == {} else "..."


@frozen(kw_only=True, slots=False)
class Model:
    """Base class of all models: keys that a model doesn't know stay in *extra*, and go back out."""

    extra: Mapping[str, Any] = field(factory=dict[str, Any], repr=concealed)


def aware(_model: object, field: "Attribute[Any]", value: object) -> None:
    """Raise `ValueError` for a time without a zone, and `TypeError` for what is no time."""
    if value is None or value is UNSET:
        return
    if not isinstance(value, datetime):
        message = f"{field.name} must be a datetime, not {type(value).__name__}"
        raise TypeError(message)
    if value.utcoffset() is None:
        message = f"{field.name} has no time zone: give it one, such as datetime.now(UTC)"
        raise ValueError(message)
