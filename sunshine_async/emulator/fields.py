"""Values of request bodies: schemas in the words of JSON Schema, multipart forms, and refusals."""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from email.message import Message
from hashlib import sha256
from types import NoneType
from typing import Any, Final, NoReturn, TypeAlias, cast

import orjson
from attrs import define, evolve, field, frozen
from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError

JsonObject: TypeAlias = dict[str, Any]
JsonObjects: TypeAlias = list[Mapping[str, Any]]


class Refusal(Exception):  # noqa: N818 - an answer of the service, not a fault
    """Refusal of a request by the service: a *status*, a *code*, and a title for each reason."""

    def __init__(self, status: int, code: str, *titles: str) -> None:
        self.status = status
        self.code = code
        self.titles = titles
        super().__init__(status, code, *titles)

    def __str__(self) -> str:
        return "; ".join(self.titles)


def refuse(*titles: str) -> NoReturn:
    """Raise a `Refusal` with the status 400."""
    raise Refusal(400, "bad_request", *titles)


def forbid() -> NoReturn:
    """Raise a `Refusal` with the status 403."""
    raise Refusal(403, "forbidden", "Forbidden")


def format_time(at: datetime | None = None) -> str:
    """Return *at*, by default now, as the services write a time: in UTC, with milliseconds."""
    at = (at or datetime.now(UTC)).astimezone(UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def pick(values: Mapping[str, Any], *names: str) -> JsonObject:
    """Return the entries of *values* with these *names*; a missing entry is left out."""
    return {name: values[name] for name in names if name in values}


def omit(values: Mapping[str, Any], *names: str) -> JsonObject:
    """Return *values* without the entries with these *names*."""
    return {name: value for name, value in values.items() if name not in names}


def without_none(values: Mapping[str, Any]) -> JsonObject:
    """Return *values* without the entries that are None."""
    return {name: value for name, value in values.items() if value is not None}


def json_copy(value: Any) -> Any:
    """Return a copy of *value*; raise `ValueError` for a value that JSON can't hold."""
    try:
        return orjson.loads(orjson.dumps(value))
    except TypeError as error:
        message = f"not JSON: {error}"
    raise ValueError(message)


MAX_FILE_BYTES: Final = 50 * 10**6
"""The largest file that a service takes."""
EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+")
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


_PHONE_NUMBER: Final = re.compile(r"\+[0-9][0-9 -]*")
FORMATS: Final[Mapping[str, tuple[Callable[[Any], object], str]]] = {
    "email": (EMAIL.fullmatch, "should be an email address"),
    "uri": (_URI.fullmatch, "should be a URI"),
    "time": (_is_time, "should be a time in the format YYYY-MM-DDThh:mm:ss.sssZ"),
    "zoned time": (
        lambda value: _is_time(value.removesuffix("[GMT]")),
        "should be a time in the format YYYY-MM-DDThh:mm:ss.sssZ",
    ),
    "phone": (_PHONE_NUMBER.fullmatch, "should begin with + and the country code"),
    "colour": (
        re.compile("([0-9A-Fa-f]{3}){1,2}").fullmatch,
        "should have 3 or 6 hexadecimal digits",
    ),
    "flat": (_is_flat, "should hold strings, numbers and booleans only"),
}


@frozen(kw_only=True)
class Schema:
    """JSON schema of a value. An object without *fields* may hold any fields."""

    type: str
    nullable: bool = False
    min_length: int | None = None
    max_length: int | None = None
    format: str | None = None
    fields: Mapping[str, "Schema"] | None = None
    required: tuple[str, ...] = ()
    items: "Schema | None" = None
    enum: tuple[str, ...] = ()
    minimum: int | None = None
    maximum: int | None = None
    kinds: Mapping[str, "Schema"] | None = None
    """Schemas of an object by the ``type`` in the object."""

    def with_fields(self, **fields: "Schema") -> "Schema":
        """Return the schema of an object with more fields."""
        return evolve(self, fields={**(self.fields or {}), **fields})

    def errors(self, value: Any, path: str = "") -> Iterator[str]:
        """Yield sentences that begin with the path of an error. An unknown field is no error."""
        if self.nullable and value is None:
            return
        if type(value) not in _TYPES[self.type]:
            article = "an" if self.type[0] in "aeiou" else "a"
            yield f"{path or 'the body'} should be {article} {self.type}"
        elif self.min_length is not None and len(value) < self.min_length:
            yield f"{path} should NOT be shorter than {self.min_length} {self._unit}"
        elif self.max_length is not None and len(value) > self.max_length:
            yield f"{path} should NOT be longer than {self.max_length} {self._unit}"
        elif self.enum and value not in self.enum:
            yield f"{path} should be one of {', '.join(self.enum)}"
        elif self.minimum is not None and value < self.minimum:
            yield f"{path} should be >= {self.minimum}"
        elif self.maximum is not None and value > self.maximum:
            yield f"{path} should be <= {self.maximum}"
        elif self.kinds is not None:
            yield from self._kind_errors(value, self.kinds, path)
        elif self.format is not None and not FORMATS[self.format][0](value):
            yield f"{path} {FORMATS[self.format][1]}"
        else:
            yield from self._inner_errors(value, path)

    def validate(self, value: Any, path: str = "") -> Any:
        """Return *value* without unknown fields; raise `Refusal` (400) with all errors."""
        errors = [*self.errors(value, path)]
        if errors:
            refuse(*errors)
        return self._without_unknown(value)

    def validate_strictly(self, value: Any) -> Any:
        """Return a copy of *value*; raise `ValueError` for errors and for unknown fields."""
        copy = json_copy(value)
        errors = [*self.errors(copy)] or [
            f"{name} is not known" for name in copy if name not in (self.fields or {})
        ]
        if errors:
            raise ValueError("; ".join(errors))
        return copy

    @property
    def _unit(self) -> str:
        return "items" if self.type == "array" else "characters"

    def _kind_errors(
        self, value: Mapping[str, Any], kinds: Mapping[str, "Schema"], path: str
    ) -> Iterator[str]:
        kind = value.get("type")
        if kind is None:
            yield f"{path} should have required property 'type'".lstrip()
        elif not isinstance(kind, str) or kind not in kinds:
            yield f"{path}.type should be one of {', '.join(kinds)}".lstrip(".")
        else:
            yield from kinds[kind].errors(value, path)

    def _without_unknown(self, value: Any) -> Any:
        if value is not None and self.kinds is not None:
            return self.kinds[value["type"]]._without_unknown(value)  # noqa: SLF001
        if value is not None and self.items is not None:
            return [self.items._without_unknown(inner) for inner in value]  # noqa: SLF001
        if value is None or self.fields is None:
            return value
        return {
            name: self.fields[name]._without_unknown(inner)  # noqa: SLF001 - of another Schema
            for name, inner in value.items()
            if name in self.fields
        }

    def _inner_errors(self, value: Any, path: str) -> Iterator[str]:
        for name in self.required:
            if name not in value:
                yield f"{path} should have required property '{name}'".lstrip()
        if self.fields is not None:
            for name, inner in cast("dict[str, Any]", value).items():
                if name in self.fields:
                    yield from self.fields[name].errors(inner, f"{path}.{name}".lstrip("."))
        if self.items is not None:
            for index, inner in enumerate(cast("list[Any]", value)):
                yield from self.items.errors(inner, f"{path}[{index}]")


def object_schema(*required: str, **fields: Schema) -> Schema:
    """Return the schema of an object with these known *fields*."""
    return Schema(type="object", fields=fields, required=required)


def array_schema(items: Schema, low: int = 0, high: int | None = None) -> Schema:
    """Return the schema of an array of *low* to *high* *items*."""
    return Schema(type="array", items=items, min_length=low, max_length=high)


def text_schema(low: int = 0, high: int | None = None, **more: Any) -> Schema:
    """Return the schema of a text of *low* to *high* characters."""
    return Schema(type="string", min_length=low, max_length=high, **more)


TEXT: Final = Schema(type="string")
BOOLEAN: Final = Schema(type="boolean")
NUMBER: Final = Schema(type="number")
INTEGER: Final = Schema(type="integer")
OBJECT: Final = Schema(type="object")
PHONE_NUMBER: Final = text_schema(format="phone")
METADATA: Final = Schema(type="object", format="flat", nullable=True)
DISPLAY_NAME: Final = text_schema(1, 100, nullable=True)
OBJECTS: Final = Schema(type="array", items=Schema(type="object"))


@define(eq=False)
class FormPart:
    """Part of a multipart form: measured and hashed; kept if *kept*."""

    file_name: str | None
    content_type: str
    kept: bool = False
    size: int = 0
    beginning: bytes = b""
    """The first 1,000 bytes; enough for a part that isn't a file."""
    _hash: Any = field(factory=sha256, init=False)
    _chunks: list[bytes] = field(factory=list[bytes], init=False)

    @property
    def data(self) -> bytes:
        """The bytes of a part that is kept."""
        return b"".join(self._chunks)

    @property
    def digest(self) -> str:
        """The SHA-256 of the bytes, in hexadecimal."""
        return str(self._hash.hexdigest())

    def add(self, data: bytes) -> None:
        """Measure and hash the next bytes of the part."""
        self.size += len(data)
        self.beginning += data[: 1000 - len(self.beginning)]
        self._hash.update(data)
        if self.kept and self.size <= MAX_FILE_BYTES:
            self._chunks.append(data)


def file_in(form: Mapping[str, Any]) -> FormPart:
    """Return the part ``source`` of a *form*; raise `Refusal` unless a file: 400, too large 413."""
    source = form.get("source")
    if not isinstance(source, FormPart) or source.file_name is None or not source.size:
        refuse("source should be a file, and not an empty one")
    if source.size > MAX_FILE_BYTES:
        title = f"files are limited to {MAX_FILE_BYTES} bytes in size"
        raise Refusal(413, "payload_too_large", title)
    return source


class FormParser:
    """Streaming parser of a ``multipart/form-data`` body. Memory stays bounded for each part.

    *keep*: keep the bytes of parts, up to `MAX_FILE_BYTES` a part.
    """

    def __init__(self, content_type: str, *, keep: bool = False) -> None:
        self._keep: Final = keep
        boundary = _header("Content-Type", content_type).get_param("boundary")
        kind = content_type.partition(";")[0].strip().lower()
        self._is_form: Final = kind == "multipart/form-data" and isinstance(boundary, str)
        self._delimiter: Final = f"\r\n--{boundary}".encode()
        self._preamble: bytearray | None = bytearray(b"\r\n")
        """The end of the text before the first delimiter; None after the first delimiter."""
        self._parser: MultipartParser | None = None
        self._headers: dict[str, str] = {}
        self._name: Final = bytearray()
        self._value: Final = bytearray()
        self._part: FormPart
        self._parts: Final[dict[str, FormPart]] = {}
        self._ended = False

    def add(self, chunk: bytes) -> None:
        """Parse the next bytes of the body."""
        try:
            if self._preamble is not None:
                self._preamble += chunk
                start = self._preamble.find(self._delimiter)
                if start < 0:
                    del self._preamble[: 1 - len(self._delimiter)]
                    return
                chunk, self._preamble = bytes(self._preamble[start + 2 :]), None
                self._parser = self._new_parser()
            if self._parser is not None:
                self._parser.write(chunk)
        except FormParserError:
            self._parser = None  # a malformed form has no end

    def parts(self) -> Mapping[str, FormPart]:
        """Return the parts by name.

        Raise `Refusal`: 415 if the body isn't a form, 400 if the form is malformed or cut short.
        """
        if not self._is_form:
            raise Refusal(
                415, "unsupported_media_type", "content-type should be multipart/form-data"
            )
        if not self._ended:
            refuse("the form has no end")
        return self._parts

    def _new_parser(self) -> MultipartParser:
        return MultipartParser(
            self._delimiter[4:],
            {
                "on_header_field": lambda data, start, end: self._name.extend(data[start:end]),
                "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
                "on_header_end": self._end_header,
                "on_headers_finished": self._begin_part,
                "on_part_data": lambda data, start, end: self._part.add(data[start:end]),
                "on_end": self._end,
            },
            max_header_count=100,  # of each part of a form
            max_header_size=10_000,  # bytes
        )

    def _end_header(self) -> None:
        name = self._name.decode(errors="replace").lower()
        self._headers[name] = self._value.strip().decode(errors="replace")
        self._name.clear()
        self._value.clear()

    def _begin_part(self) -> None:
        headers, self._headers = self._headers, {}
        disposition = _header("Content-Disposition", headers.get("content-disposition", ""))
        name = str(disposition.get_param("name", header="Content-Disposition"))
        file_name = _file_name(disposition)
        kind = headers.get("content-type", "application/octet-stream")
        self._part = self._parts[name] = FormPart(file_name, kind, self._keep)

    def _end(self) -> None:
        self._ended = True


def _file_name(disposition: Message) -> str | None:
    """Return the name of a part's file as text of UTF-8; None without a name."""
    try:
        name = disposition.get_filename()
    except UnicodeError:  # of a charset such as idna
        name = ""
    return None if name is None else name.encode(errors="replace").decode()


def _header(name: str, value: str) -> Message:
    message = Message()
    message[name] = value
    return message
