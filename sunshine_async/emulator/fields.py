"""What may stand in a body: a table of fields, each with its rule, in the words of JSON Schema.

How an operation says no.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from types import NoneType
from typing import Any, Final, cast

from attrs import frozen


class Refusal(Exception):  # noqa: N818 - an answer, not something that broke
    """The service says no: a *status*, a *code*, and a title for each reason."""

    def __init__(self, status: int, code: str, *titles: str) -> None:
        self.status = status
        self.code = code
        self.titles = titles
        super().__init__(status, code, *titles)

    def __str__(self) -> str:
        return "; ".join(self.titles)


_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+")
_URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s]+")
_TIME: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-][0-9]{2}:?[0-9]{2})"
)
_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "object": (dict,),
    "array": (list,),
}


def _is_time(value: str) -> bool:
    try:
        return bool(_TIME.fullmatch(value) and datetime.fromisoformat(value).astimezone(UTC))
    except (ValueError, OverflowError):
        return False


def _is_flat(value: Mapping[str, Any]) -> bool:
    return all(type(inner) in (str, int, float, bool, NoneType) for inner in value.values())


FORMATS: Final[Mapping[str, tuple[Callable[[Any], object], str]]] = {
    "email": (_EMAIL.fullmatch, "should be an email address"),
    "uri": (_URI.fullmatch, "should be a URI"),
    "time": (_is_time, "should be a time in the format YYYY-MM-DDThh:mm:ss.sssZ"),
    "flat": (_is_flat, "should hold strings, numbers and booleans only"),
}


@frozen(kw_only=True)
class Field:
    """What one value must be. An object without *fields* holds any."""

    type: str
    nullable: bool = False
    min_length: int | None = None
    max_length: int | None = None
    format: str | None = None
    fields: Mapping[str, "Field"] | None = None
    required: tuple[str, ...] = ()
    items: "Field | None" = None

    def problems(self, value: Any, path: str = "") -> Iterator[str]:
        """Yield a sentence for each thing wrong with *value*, which begins with where it is.

        A field that the table doesn't have is nothing wrong.
        """
        if self.nullable and value is None:
            return
        if type(value) not in _TYPES[self.type]:
            yield f"{path or 'the body'} should be {_article(self.type)}"
        elif self.min_length is not None and len(value) < self.min_length:
            yield f"{path} should NOT be shorter than {self.min_length} characters"
        elif self.max_length is not None and len(value) > self.max_length:
            yield f"{path} should NOT be longer than {self.max_length} characters"
        elif self.format is not None and not FORMATS[self.format][0](value):
            yield f"{path} {FORMATS[self.format][1]}"
        else:
            yield from self._problems_within(value, path)

    def checked(self, value: Any) -> Any:
        """Return *value* without the fields that the table doesn't have.

        Raise `Refusal` (400) with all its problems where it has any.
        """
        problems = [*self.problems(value)]
        if problems:
            raise Refusal(400, "bad_request", *problems)
        return self._known(value)

    def exact(self, value: Any) -> Any:
        """Return *value*; raise `ValueError` where it has a problem, or a field of no table."""
        problems = [*self.problems(value)] or [
            f"{name} is not known" for name in value if name not in (self.fields or {})
        ]
        if problems:
            raise ValueError("; ".join(problems))
        return value

    def _known(self, value: Any) -> Any:
        if value is None or self.fields is None:
            return value
        return {
            name: self.fields[name]._known(inner)  # noqa: SLF001 - another of its own kind
            for name, inner in value.items()
            if name in self.fields
        }

    def _problems_within(self, value: Any, path: str) -> Iterator[str]:
        for name in self.required:
            if name not in value:
                yield f"{path} should have required property '{name}'".lstrip()
        if self.fields is not None:
            for name, inner in cast("dict[str, Any]", value).items():
                if name in self.fields:
                    yield from self.fields[name].problems(inner, f"{path}.{name}".lstrip("."))
        if self.items is not None:
            for index, inner in enumerate(cast("list[Any]", value)):
                yield from self.items.problems(inner, f"{path}[{index}]")


def _article(type_: str) -> str:
    return f"{'an' if type_[0] in 'aio' else 'a'} {type_}"
