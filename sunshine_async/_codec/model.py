"""Parts of the models: the base class, `UNSET`, names of fields on the wire, times, redaction."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import Enum
from functools import cache
from importlib import import_module
from operator import attrgetter
from reprlib import recursive_repr
from typing import Any, Final, Literal, Self

from attrs import NOTHING, Attribute, field, fields, frozen, resolve_types


class Unset(Enum):
    """The type of `UNSET`."""

    UNSET = "UNSET"

    def __bool__(self) -> Literal[False]:
        return False

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = Unset.UNSET
"""Leaves a key out of a body; None sends null. False in a condition."""

EXTRA: Final = "extra"
"""The field of a model that holds unknown keys and unreadable raw values."""
WIRE: Final = "wire"
"""Metadata key: the name on the wire of a field, where camelCase of the field's name is wrong."""
AS_ID: Final[Mapping[str, str]] = {WIRE: "_id"}
"""Metadata of an id with the name ``_id`` on the wire."""
TAG: Final = "tag"
"""Metadata key of a tag field, which tells the members of a union apart.

The default is the member's tag; None marks the fallback member, for unknown tags.
"""
AS_TYPE: Final[Mapping[str, object]] = {TAG: True}
"""Metadata of a tag field that has the field's name on the wire."""
AS_TAG: Final[Mapping[str, object]] = {WIRE: "_type", **AS_TYPE}
"""Metadata of a tag field with the name ``_type`` on the wire."""
TAG_ALIAS: Final = "tag alias"
"""Metadata key of a tag field: a second tag that the service uses for the same member."""
PLACEHOLDER: Final = "placeholder"
"""Metadata key of the fallback's tag field: the fallback also replaces a value that is no object.

So each item of a list keeps the same index.
"""


def wire_name(name: str) -> str:
    """Return the name on the wire of the field *name*: camelCase."""
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def name_of(field: "Attribute[Any]") -> str:
    """Return the name on the wire of the *field* of a model: the metadata's, else camelCase."""
    name: str = field.metadata.get(WIRE) or wire_name(field.name)
    return name


def fields_by_wire(kind: Any) -> dict[str, str]:
    """Return the names of the fields of a model but *extra*, by the names on the wire."""
    return {name_of(field): field.name for field in fields(kind) if field.name != EXTRA}


class UnixTime(datetime):
    """A time in UTC, written as seconds since 1970. Encoding gives back exactly the number read."""

    seconds: float | None = None
    """The number that the service wrote; None for a time that didn't come from a service."""

    @classmethod
    def from_seconds(cls, seconds: float) -> Self:
        """Return the time; raise an error of `datetime` for a time outside the calendar."""
        at = cls.fromtimestamp(seconds, UTC)
        at.seconds = seconds
        return at

    def to_seconds(self) -> float:
        """Return the number for the wire."""
        return self.timestamp() if self.seconds is None else self.seconds


def write_datetime(at: datetime) -> str:
    """Return *at* for the wire: ISO 8601 in UTC, with milliseconds."""
    try:
        utc = at.astimezone(UTC)
    except OverflowError:  # at either end of the calendar: the time keeps its own zone
        return at.isoformat(timespec="milliseconds")
    return utc.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def redact(value: object) -> str:
    """Return the redacted ``repr`` of personal data; None, `UNSET` and ``{}`` are shown."""
    return repr(value) if value is None or value is UNSET or value == {} else "..."


class _AsDataclass:
    """Attribute of an equal dataclass, made on access: FastAPI takes dataclasses as bodies."""

    def __set_name__(self, _owner: type, name: str) -> None:
        self._name = name

    def __get__(self, _model: object, owner: Any) -> Any:
        return getattr(_dataclass_of(owner), self._name)


class _PydanticSerializer:
    """Attribute that Pydantic asks for where a place has no type, such as `Any`; made on access."""

    def __get__(self, _model: object, owner: object) -> Any:
        try:
            return import_module("sunshine_async._codec.pydantic_schema").untyped_serializer()
        except ImportError:  # an inspection of all attributes, without Pydantic
            message = "__pydantic_serializer__ needs Pydantic"
        raise AttributeError(message)


@cache
def _dataclass_of(kind: Any) -> type:
    """Return a dataclass with the fields of *kind*, a model."""
    dataclasses = import_module("dataclasses")
    equal: list[tuple[str, Any, Any]] = []
    for at in fields(resolve_types(kind)):
        options: dict[str, Any] = {"metadata": at.metadata, "kw_only": True}
        if hasattr(at.default, "factory"):
            options["default_factory"] = at.default.factory
        elif at.default is not NOTHING:
            options["default"] = at.default
        equal.append((at.name, at.type, dataclasses.field(**options)))
    made: type = dataclasses.make_dataclass(kind.__name__, equal)
    return made


def _new_extra() -> dict[str, Any]:  # a call of dict[str, Any] costs 2,600 instructions
    return {}


@cache
def _values_of(kind: Any, *, hashed: bool) -> Callable[[Any], Any]:
    """Return the function that takes from a model *kind* the values to compare, or to hash."""
    taken = [at for at in fields(kind) if (at.hash if hashed and at.hash is not None else at.eq)]
    if taken and all(at.eq_key is None for at in taken):
        return attrgetter(*(at.name for at in taken))
    keys = [(at.name, at.eq_key) for at in taken]

    def values(model: Any) -> tuple[Any, ...]:
        named = ((getattr(model, name), key) for name, key in keys)
        return tuple(value if key is None else key(value) for value, key in named)

    return values


@cache
def _shown_by(kind: Any) -> tuple[tuple[str, Callable[[object], str]], ...]:
    """Return the fields that the ``repr`` of a model *kind* shows, each with a function."""
    shown = (at for at in fields(kind) if at.repr is not False)
    return tuple((at.name, repr if at.repr is True else at.repr) for at in shown)


def _is_equal(model: Any, other: Any) -> Any:
    kind: Any = model.__class__
    if other.__class__ is not kind:
        return NotImplemented
    values = _values_of(kind, hashed=False)
    return values(model) == values(other)


def _hash_of(model: Any) -> int:
    kind: Any = model.__class__
    return hash((kind, _values_of(kind, hashed=True)(model)))


@recursive_repr()
def _show(model: Any) -> str:
    kind: Any = model.__class__
    values = ", ".join(f"{name}={show(getattr(model, name))}" for name, show in _shown_by(kind))
    return f"{kind.__qualname__.rpartition('>.')[2]}({values})"


_SHARED: Final = {"__eq__": _is_equal, "__hash__": _hash_of, "__repr__": _show}
"""Methods that all models share.

attrs compiles a method for each class that has no such method: 2 of 3.2 million instructions a
class at import, and there are 290 models.
"""


@frozen(kw_only=True, slots=False)
class Model:
    """Base class of all models. Unknown keys stay in *extra*, and `encode` writes them again.

    A model is a type for Pydantic 2 and FastAPI: names on the wire, strict reading, a JSON schema.
    """

    extra: Mapping[str, Any] = field(factory=_new_extra, repr=redact)

    __dataclass_fields__ = _AsDataclass()
    __dataclass_params__ = _AsDataclass()
    __pydantic_serializer__ = _PydanticSerializer()

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name, method in _SHARED.items():
            if getattr(cls, name) in (method, getattr(Model, name)):  # else a method of the user's
                setattr(cls, name, method)

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: object, handler: Any) -> Any:
        make = import_module("sunshine_async._codec.pydantic_schema").model_schema
        return make(cls, handler)


def require_time_zone(_model: object, field: "Attribute[Any]", value: object) -> None:
    """Raise `ValueError` for a time without a zone, and `TypeError` for a value of another type."""
    if value is None or value is UNSET:
        return
    if not isinstance(value, datetime):
        message = f"{field.name} must be a datetime, not {type(value).__name__}"
        raise TypeError(message)
    if value != value:  # noqa: PLR0124 - pandas.NaT, which is a datetime
        message = f"{field.name} is not a time, but NaT: leave it out"
        raise ValueError(message)
    if value.utcoffset() is None:
        message = f"{field.name} has no time zone: give it one, such as datetime.now(UTC)"
        raise ValueError(message)
