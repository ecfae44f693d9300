"""Values to JSON and back: what is left out, what is null, what JSON can't hold."""

import gc
import math
import operator
import pickle
import re
import sys
import traceback
import tracemalloc
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from copy import copy
from datetime import UTC, datetime, timedelta, timezone
from enum import Enum, StrEnum
from importlib import import_module
from typing import Any, Final, get_origin

import attrs
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.size import sized

from sunshine_async import UNSET, Unset, from_dict, sunshine
from sunshine_async._codec import (
    Misfit,
    covers,
    decode,
    encode,
    holds,
    is_unreadable,
    name_of,
    structure,
    structure_body,
    structure_inside,
    unstructure,
    wire_name,
)
from sunshine_async._codec.model import Model, UnixTime
from sunshine_async._codec.unions import is_list, members_of
from sunshine_async.sunshine import UserCreateBody

pytestmark = pytest.mark.costly

AT = datetime(2020, 5, 21, 15, 53, 30, 197_000, tzinfo=UTC)


@attrs.frozen(kw_only=True)
class Part:
    """A model in a model."""

    name: str
    sold_at: datetime | None = None
    extra: Mapping[str, Any] = attrs.field(factory=dict[str, Any])


@attrs.frozen(kw_only=True)
class Thing:
    """A model with a field of every kind."""

    id: str
    is_new: bool | None = None
    how_many: int | None = None
    price: float | None = None
    parts: list[Part] | None = None
    tags: list[str] | None = None
    best_part: Part | None = None
    metadata: Mapping[str, Any] | None = None
    extra: Mapping[str, Any] = attrs.field(factory=dict[str, Any])


@attrs.frozen(kw_only=True, slots=False)
class Loose:
    """A model that keeps its fields in a dictionary."""

    id: str
    is_new: bool | None = None
    extra: Mapping[str, Any] = attrs.field(factory=dict[str, Any])


@attrs.frozen(kw_only=True)
class ThingBody:
    """A body with a field of every kind."""

    first_name: str | Unset | None = UNSET
    since: datetime | Unset | None = UNSET
    price: float | Unset = UNSET
    part: Part | Unset = UNSET
    parts: list[Part] | Unset | None = UNSET
    metadata: Mapping[str, Any] | Unset | None = UNSET
    extra: Mapping[str, Any] = attrs.field(factory=dict[str, Any])


@attrs.frozen(kw_only=True, slots=False)
class Keyed:
    """A body with a key."""

    external_id: str | Unset | None = UNSET
    name: str | Unset | None = UNSET
    tags: list[str] | Unset | None = UNSET
    metadata: Mapping[str, Any] | Unset = UNSET
    extra: Mapping[str, Any] = attrs.field(factory=dict[str, Any])


@attrs.frozen(kw_only=True, slots=False)
class KeyedAnswer:
    """The answer to it."""

    id: str
    external_id: str | None = None
    name: str | None = None
    tags: list[str] | None = None
    metadata: Mapping[str, Any] | None = None
    extra: Mapping[str, Any] = attrs.field(factory=dict[str, Any])


class Color(StrEnum):
    """An enumeration of a caller's own."""

    RED = "red"


def circle() -> dict[str, Any]:
    """Return an object that has itself in it."""
    ring: dict[str, Any] = {}
    ring["ring"] = [ring]
    return ring


def nested(depth: int, innermost: Any = None) -> Any:
    """Return objects and lists within each other, *depth* of them."""
    inner: Any = innermost
    for level in range(depth):
        inner = {"a": inner} if level % 2 else [inner]
    return {"a": inner}


@pytest.mark.parametrize(
    ("name", "wire"),
    [("id", "id"), ("given_name", "givenName"), ("to_be_retained", "toBeRetained")],
)
def test_names_are_camel_case_on_the_wire(name: str, wire: str) -> None:
    """A field has its camelCase name on the wire."""
    assert wire_name(name) == wire


def test_unset_leaves_out_and_none_sends_null() -> None:
    """`UNSET` leaves a key out of a body, None sends null, and nothing is sent by default."""
    assert encode(ThingBody()) == b"{}"
    assert encode(ThingBody(first_name=None, since=None, parts=None, metadata=None)) == (
        b'{"firstName":null,"since":null,"parts":null,"metadata":null}'
    )


def test_unset_leaves_a_key_out_of_plain_data_too() -> None:
    """`UNSET` inside of metadata, of extra or of plain data never reaches the wire."""
    body = ThingBody(metadata={"a": UNSET, "b": [{"c": UNSET}]}, extra={"d": UNSET})

    assert orjson.loads(encode(body)) == {"metadata": {"b": [{}]}}
    assert encode({"a": UNSET, "b": 1}) == b'{"b":1}'


@pytest.mark.parametrize(
    ("value", "path"), [([UNSET], "[0]"), ({"a": UNSET, "b": {"c": (1, UNSET)}}, "b.c[1]")]
)
def test_unset_where_there_is_no_key_is_refused(value: object, path: str) -> None:
    """`UNSET` in a list leaves nothing out: a `ValueError` says where."""
    for write in (encode, unstructure):
        with pytest.raises(ValueError, match="UNSET leaves a key out") as caught:
            write(value)

        assert type(caught.value) is ValueError
        assert str(caught.value).startswith(f"{path}: ")


def test_what_is_set_is_sent() -> None:
    """Each kind of field goes out as JSON knows it."""
    body = ThingBody(
        first_name="Zoë",
        since=AT.astimezone(timezone(timedelta(hours=2))),
        price=1.5,
        part=Part(name="lid", sold_at=AT),
        parts=[Part(name="pot", extra={"inStock": True})],
        metadata=OrderedDict(vip=True, age=30, note=None, tags=("a", Color.RED)),
        extra={"newField": {"deep": [1, {"er": Part(name="x")}]}},
    )

    assert orjson.loads(encode(body)) == {
        "firstName": "Zoë",
        "since": "2020-05-21T15:53:30.197Z",
        "price": 1.5,
        "part": {"name": "lid", "soldAt": "2020-05-21T15:53:30.197Z"},
        "parts": [{"inStock": True, "name": "pot"}],
        "metadata": {"vip": True, "age": 30, "note": None, "tags": ["a", "red"]},
        "newField": {"deep": [1, {"er": {"name": "x"}}]},
    }


@pytest.mark.parametrize(
    ("value", "data"),
    [
        (None, b"null"),
        ("text", b'"text"'),
        (1.5, b"1.5"),
        (2**63, b"9223372036854775808"),
        ([1, (2, {"a": 3})], b'[1,[2,{"a":3}]]'),
        (OrderedDict(a={"b": []}), b'{"a":{"b":[]}}'),
        ([Part(name="lid")], b'[{"name":"lid"}]'),
    ],
)
def test_plain_data_is_sent_as_it_is(value: object, data: bytes) -> None:
    """Plain data, models in it too, needs no model around it."""
    assert encode(value) == data


def test_json_takes_the_memory_of_its_bytes() -> None:
    """Each call in flight keeps its body: a thousand small bodies aren't megabytes."""
    tracemalloc.start()
    try:
        bodies = [encode({"externalId": f"{number:06}"}) for number in range(1000)]
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert size < 1000 * (sys.getsizeof(bodies[0]) + 50)


def test_a_field_wins_over_an_extra_of_its_name() -> None:
    """What *extra* has under the name of a field that is set is not sent."""
    assert encode(ThingBody(first_name="a", extra={"firstName": "b"})) == b'{"firstName":"a"}'


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (ThingBody(first_name="secret\ud800"), "firstName"),
        (ThingBody(price=math.nan), "price"),
        (ThingBody(price=-math.inf), "price"),
        (ThingBody(metadata={"a": {"b": [1, math.inf]}}), "metadata.a.b[1]"),
        (ThingBody(metadata={"a": 2**64}), "metadata.a"),
        (ThingBody(metadata={"a": -(2**63) - 1}), "metadata.a"),
        (ThingBody(metadata={"a": AT}), "metadata.a"),
        (ThingBody(metadata={"a": {"secret"}}), "metadata.a"),
        (ThingBody(metadata={"a": b"secret"}), "metadata.a"),
        (ThingBody(extra={"a": {1: "secret"}}), "a"),
        (ThingBody(extra={"a": {"secret\ud800": 1}}), "a.a key"),
        (ThingBody(extra={"a": Part(name="secret\ud800")}), "a.name"),
        (ThingBody(part=Part(name="secret\ud800")), "part.name"),
        (ThingBody(parts=[Part(name="a"), Part(name="secret\ud800")]), "parts[1].name"),
        (ThingBody(since=AT, part=Part(name="a", sold_at=AT, extra={"b": {1}})), "part.b"),
        ([{"a": "secret\ud800"}], "[0].a"),
        ({"a\ud801": {"b": "secret\ud800"}}, "a key"),
        (ThingBody(part={"name": "secret"}), "part"),  # type: ignore[arg-type]
        (ThingBody(extra={"a": ThingBody(part="secret")}), "a.part"),  # type: ignore[arg-type]
        (ThingBody(parts=["secret"]), "parts[0]"),  # type: ignore[list-item]
        (ThingBody(parts=[None]), "parts[0]"),  # type: ignore[list-item]
        (ThingBody(first_name=AT), "firstName"),  # type: ignore[arg-type]
        (ThingBody(since="secret"), "since"),  # type: ignore[arg-type]
        (Part(name="a", sold_at=5), "soldAt"),  # type: ignore[arg-type]
        ("secret\ud800", ""),
        ({"secret"}, ""),
        (ThingBody(first_name=math.nan), "firstName"),  # type: ignore[arg-type]
        (ThingBody(first_name=None, price=math.nan), "price"),
        (ThingBody(parts=[Part(name=math.inf)]), "parts[0].name"),  # type: ignore[arg-type]
        (ThingBody(extra={"a": [None, Part(name=math.nan)]}), "a[1].name"),  # type: ignore[arg-type]
        (ThingBody(metadata={"a": [1, "b"], "c": 2**70}), "metadata.c"),
        (ThingBody(metadata=nested(990, {"a": 2**70})), "metadata"),
        (ThingBody(extra={"a": nested(990), "b": 1}), "a"),
        (ThingBody(extra={"a": nested(300)}), "a"),
        ({"a": 1, "b": nested(2000)}, "b"),
    ],
)
def test_what_json_cannot_hold_is_refused(body: object, path: str) -> None:
    """What JSON can't hold is a `ValueError` that names the field and never shows the value."""
    with pytest.raises(ValueError, match=r".") as caught:
        encode(body)

    assert type(caught.value) is ValueError
    assert str(caught.value).startswith(f"{path}: " if path else "")
    assert "secret" not in str(caught.value)
    assert caught.value.__context__ is None


def test_a_dictionary_in_place_of_a_model_has_a_next_step() -> None:
    """The error of a field with a dictionary in place of a model says how to make the model."""
    profile: Any = {"givenName": "Jane"}

    with pytest.raises(ValueError, match="profile") as caught:
        encode(UserCreateBody(profile=profile))

    assert str(caught.value) == (
        "profile: expected Profile, got dict:"
        " from_dict(Profile, ...) makes a model of the service's names"
    )


def test_from_dict_names_its_arguments() -> None:
    """The data before the model is a `TypeError` that says the order."""
    data: Any = {"externalId": "jane-1"}

    with pytest.raises(TypeError, match="takes a model, such as User, and then the data"):
        from_dict(data, UserCreateBody)


def test_null_beside_numbers_is_sent() -> None:
    """A null that is meant is sent, also beside numbers, texts and models."""
    body = ThingBody(
        first_name=None, price=1.5, parts=[Part(name="null")], extra={"a": [None, Part(name="b")]}
    )

    assert decode(encode(body)) == {
        "firstName": None,
        "price": 1.5,
        "parts": [{"name": "null"}],
        "a": [None, {"name": "b"}],
    }


WRONG: Final = (5, 1.5, True, "secret", b"secret", ["secret"], ("secret",), {"secret"}, object())
"""Values that are no mapping, and no list but for the list, the tuple and the set."""


def minimal(hint: Any) -> Any:
    """Return a value of the type *hint*; of a model with all fields left out that may be."""
    hint = next(iter(members_of(hint)), None)
    if attrs.has(hint):
        needed = [one for one in attrs.fields(attrs.resolve_types(hint)) if one.init]
        values = {one.alias: minimal(one.type) for one in needed if one.default is attrs.NOTHING}
        return hint(**values)
    plain = {bool: True, int: 1, float: 1.5, datetime: AT, Any: None}
    origin = get_origin(hint)
    return [] if origin is list else {} if origin is Mapping else plain.get(hint, "x")


def models() -> list[Any]:
    """Return all models that can be made without a choice between fields."""
    for name in ("dixa", "smooch", "sunshine", "webhooks"):
        package = import_module(f"sunshine_async.{name}")
        _ = [getattr(package, each) for each in package.__all__]
    found: list[Any] = []
    waiting: list[Any] = [Model]
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        with suppress(ValueError):
            if kind.__module__.startswith("sunshine_async."):
                found.append(minimal(kind))
    return found


@pytest.mark.parametrize("value", WRONG, ids=lambda value: type(value).__name__)
def test_a_field_of_another_type_is_named(value: Any) -> None:
    """A value that is no mapping, or no list, is refused by field and type, in each model."""
    found = models()
    assert len(found) > 200
    for model in found:
        kind = attrs.resolve_types(type(model))
        fields = {one.name: members_of(one.type) for one in attrs.fields(kind) if one.init}
        lists = [name for name, kinds in fields.items() if kinds and all(map(is_list, kinds))]
        changes = [("extra", "mapping"), *((name, "list") for name in lists)]
        for name, expected in changes:
            if expected == "list" and isinstance(value, list | tuple | set):
                continue
            changed = copy(model)
            object.__setattr__(changed, name, value)
            wire = "extra" if name == "extra" else name_of(getattr(attrs.fields(kind), name))
            for write in (encode, unstructure):
                with pytest.raises(
                    ValueError, match=f"^{wire}: expected a {expected}, got "
                ) as caught:
                    write(changed)
                assert str(caught.value).endswith(f" {type(value).__name__}")
                assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "body",
    [
        *(circle(), ThingBody(metadata=circle()), ThingBody(extra=circle()), nested(2000)),
        *(nested(depth) for depth in (254, 300)),
        *(ThingBody(metadata=nested(depth)) for depth in (253, 254)),
    ],
)
def test_a_circle_is_refused(body: object) -> None:
    """A value that has itself in it, or is nested too deep, is a `ValueError`."""
    with pytest.raises(ValueError, match="nested too deep, or in a circle") as caught:
        encode(body)

    assert caught.value.__context__ is None


@pytest.mark.slow
def test_a_circle_is_refused_near_the_end_of_the_stack() -> None:
    """Where the caller has left little of the stack, the error is the same."""
    frames = sys.getrecursionlimit() - sum(1 for _ in traceback.walk_stack(None))

    def encode_below(frames: int) -> None:
        encode_below(frames - 1) if frames else encode(ThingBody(metadata=circle()))

    with pytest.raises(ValueError, match="nested too deep"):
        encode_below(frames - 200)
    for left in range(0, 60, sized(1, 6)):
        with suppress(RecursionError), pytest.raises(ValueError, match="nested too deep"):
            encode_below(frames - left)  # with the fewest frames left, even the error has no room


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2020-05-21T15:53:30.197Z", AT),
        ("2020-05-21T15:53:30.197Z[GMT]", AT),
        ("2020-05-21T15:53:30.197+00:00[Europe/Paris]", AT),
        ("2020-05-21T17:53:30.197+02:00", AT),
        ("2020-05-21T15:53:30.197", AT),
        ("2020-05-21T15:53:30Z", AT.replace(microsecond=0)),
        ("2020-05-21T15:53Z", AT.replace(second=0, microsecond=0)),
        ("2020-05-21", datetime(2020, 5, 21, tzinfo=UTC)),
    ],
)
def test_times_are_read_with_a_zone(text: str, at: datetime) -> None:
    """A time in an answer has a zone: its own, or UTC where it has none."""
    read = structure({"name": "a", "soldAt": text}, Part).sold_at

    assert read == at
    assert read is not None
    assert read.tzinfo is not None


@given(st.datetimes(timezones=st.integers(-14, 14).map(lambda h: timezone(timedelta(hours=h)))))
def test_any_time_with_a_zone_comes_back(at: datetime) -> None:
    """A time with a zone, from the first year to the last, comes back to the millisecond."""
    text = unstructure(Part(name="a", sold_at=at))["soldAt"]
    back = structure({"name": "a", "soldAt": text}, Part).sold_at

    assert back == at.replace(microsecond=at.microsecond // 1000 * 1000)


@pytest.mark.parametrize(
    "at",
    [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)],
    ids=["first", "last"],
)
@pytest.mark.parametrize("hours", [-14, 14])
def test_a_time_at_the_ends_of_the_calendar_is_sent(at: datetime, hours: int) -> None:
    """A time that is past the calendar in UTC is sent in its own zone."""
    aware = at.replace(tzinfo=timezone(timedelta(hours=hours)))
    text = unstructure(Part(name="a", sold_at=aware))["soldAt"]

    assert abs(datetime.fromisoformat(text) - aware) < timedelta(milliseconds=1)


@pytest.mark.parametrize(
    ("data", "reason", "path"),
    [
        ({}, "missing", "id"),
        ({"id": None}, "expected text, got null", "id"),
        ({"id": 5}, "expected text, got an integer", "id"),
        ({"id": "a", "isNew": 1}, "expected true or false, got an integer", "isNew"),
        ({"id": "a", "isNew": "secret"}, "expected true or false, got text", "isNew"),
        ({"id": "a", "howMany": True}, "expected an integer, got true or false", "howMany"),
        ({"id": "a", "howMany": 1.0}, "expected an integer, got a number", "howMany"),
        ({"id": "a", "price": "secret"}, "expected a number, got text", "price"),
        ({"id": "a", "price": True}, "expected a number, got true or false", "price"),
        ({"id": "a", "parts": {}}, "expected a list, got an object", "parts"),
        ({"id": "a", "parts": [5]}, "expected an object, got an integer", "parts[0]"),
        ({"id": "a", "parts": [{"name": "a"}, {}]}, "missing", "parts[1].name"),
        ({"id": "a", "tags": ["a", None]}, "expected text, got null", "tags[1]"),
        ({"id": "a", "bestPart": []}, "expected an object, got a list", "bestPart"),
        (
            {"id": "a", "bestPart": {"name": ["secret"]}},
            "expected text, got a list",
            "bestPart.name",
        ),
        (
            {"id": "a", "bestPart": {"name": "a", "soldAt": 5}},
            "expected text, got an integer",
            "bestPart.soldAt",
        ),
        (
            {"id": "a", "bestPart": {"name": "a", "soldAt": "secret"}},
            "expected a time such as 2020-05-21T15:53:30.197Z",
            "bestPart.soldAt",
        ),
        ({"id": "a", "metadata": "secret"}, "expected an object, got text", "metadata"),
        ({"id": ("secret",)}, "expected text, got tuple", "id"),
        (["secret"], "expected an object, got a list", ""),
        (None, "expected an object, got null", ""),
    ],
)
def test_a_body_of_another_shape_is_refused(data: object, reason: str, path: str) -> None:
    """A wrong type says what it should be, what it is and where, and never shows the value."""
    with pytest.raises(Misfit) as caught:
        structure_body(data, Thing)

    assert (caught.value.reason, caught.value.path) == (reason, path)
    assert str(caught.value) == (f"{path}: {reason}" if path else reason)
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    ("data", "reason", "path"),
    [
        ({}, "missing", "id"),
        ({"id": None}, "expected text, got null", "id"),
        ({"id": True}, "expected text, got true or false", "id"),
        ({"id": ["secret"]}, "expected text, got a list", "id"),
        ({"id": 2.0**53}, "expected text, got a number", "id"),
        (["secret"], "expected an object, got a list", ""),
        (None, "expected an object, got null", ""),
    ],
)
def test_an_answer_without_an_id_is_refused(data: object, reason: str, path: str) -> None:
    """A required field that is missing or unreadable says so, and never shows the value."""
    with pytest.raises(Misfit) as caught:
        structure(data, Thing)

    assert (caught.value.reason, caught.value.path) == (reason, path)
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    ("raw", "reading"),
    [(3.0, 3), (-4e3, -4000), (2.0**53, None), (-(2.0**53), None), (1.5, None), (True, None)],
)
def test_a_whole_number_of_an_answer_is_an_integer(raw: object, reading: int | None) -> None:
    """JSON may write 3 as 3.0: an integer too, unless digits are lost. A body is read strictly."""
    data = {"id": "a", "howMany": raw}
    found = structure(data, Thing)

    assert (found.how_many, type(found.how_many)) == (reading, type(reading))
    assert found.extra == ({} if reading else {"howMany": raw})
    assert unstructure(found) == data
    with pytest.raises(Misfit, match="howMany: expected an integer"):
        structure_body(data, Thing)


@pytest.mark.parametrize("read", [structure, structure_body])
def test_an_answer_is_read_as_its_model(read: Any) -> None:
    """Each kind of field is read; a whole number will do where a number may have a fraction."""
    thing = read(
        {
            "id": "a",
            "isNew": True,
            "howMany": 3,
            "price": 2,
            "parts": [{"name": "lid", "soldAt": None}],
            "tags": [],
            "bestPart": {"name": "pot"},
            "metadata": {"a": [None]},
        },
        Thing,
    )

    assert thing == Thing(
        id="a",
        is_new=True,
        how_many=3,
        price=2,
        parts=[Part(name="lid")],
        tags=[],
        best_part=Part(name="pot"),
        metadata={"a": [None]},
    )


def test_null_and_absent_read_as_none() -> None:
    """In an answer what is null reads as what is absent: None."""
    nulls = dict.fromkeys(("isNew", "howMany", "price", "parts", "tags", "bestPart"))

    assert structure({"id": "a", **nulls, "metadata": None}, Thing) == Thing(id="a")


@pytest.mark.parametrize(
    "key", ["newField", "extra", "\0extra", " extra", "is_new", "", "__class__"]
)
@given(value=st.none() | st.integers(-(2**53), 2**53) | st.dictionaries(st.text(), st.text()))
def test_what_is_beyond_the_model_is_kept(key: str, value: object) -> None:
    """A key that the model doesn't know, whatever it is, is in `extra` and goes back out."""
    data = {"id": "a", "bestPart": {"name": "lid", key: value}, key: value}
    thing = structure(data, Thing)

    assert thing.extra == {key: value}
    assert thing.best_part == Part(name="lid", extra={key: value})
    assert unstructure(thing) == data


def test_lists_and_any_json_are_read() -> None:
    """An answer may be a list of models, or anything."""
    assert structure([{"name": "a"}], list[Part]) == [Part(name="a")]
    assert structure([{"a": None}], object) == [{"a": None}]


def test_an_envelope_is_opened() -> None:
    """What is inside of an envelope is read, beside whatever else there is."""
    assert structure_inside({"part": {"name": "a"}, "meta": 1}, "part", Part) == Part(name="a")


@pytest.mark.parametrize(
    ("data", "reason", "path"),
    [
        ({"name": "a"}, "missing", "part"),
        ({"part": None}, "expected an object, got null", "part"),
        ({"part": {}}, "missing", "part.name"),
        ({"part": {"name": 5}}, "expected text, got an integer", "part.name"),
        ({"part": {"name": nested(1)}}, "expected text, got an object", "part.name"),
        ([], "expected an object, got a list", ""),
        ("secret", "expected an object, got text", ""),
    ],
)
def test_a_wrong_envelope_is_refused(data: object, reason: str, path: str) -> None:
    """Without its envelope, or with something else in it, an answer can't be read."""
    with pytest.raises(Misfit) as caught:
        structure_inside(data, "part", Part)

    assert (caught.value.reason, caught.value.path) == (reason, path)
    assert caught.value.__context__ is None


def test_an_item_that_cannot_be_read_does_not_block_the_others() -> None:
    """Of a list the readable items come; a list without any readable item is refused."""
    odd: list[Any] = [{}, None, {"name": 5}]

    found = structure_inside({"parts": [*odd, {"name": "a"}, []]}, "parts", list[Part])

    assert found == [Part(name="a")]
    assert structure_inside({"parts": []}, "parts", list[Part]) == []
    with pytest.raises(Misfit, match=r"^parts\[0\]\.name: missing$") as caught:
        structure_inside({"parts": odd}, "parts", list[Part])
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    "data", [b"", b"<html>", b'{"a":', b"NaN", b'"\\ud800"', b"\xff", b"1e999"]
)
def test_what_is_no_json_is_refused(data: bytes) -> None:
    """What isn't JSON is refused with the place, and without showing it."""
    with pytest.raises(Misfit, match=r"^not JSON \(.*line \d+, column \d+\)$") as caught:
        decode(data)

    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    ("data", "place"),
    [
        (b"\xff", "line 1, column 1"),
        (b"\x1f\x8b\x08", "line 1, column 2"),
        (b'\xef\xbb\xbf{"a":\n"\xc3\xbc\xe9"}', "line 2, column 3"),
        (b'{"a": "\xed\xa0\x80"}', "line 1, column 8"),
    ],
)
def test_bytes_that_are_not_utf_8_are_named(data: bytes, place: str) -> None:
    """A text in another encoding is refused as such, with the place of the first foreign byte."""
    with pytest.raises(Misfit, match=rf"^not JSON \(a byte that isn't UTF-8, {place}\)$"):
        decode(data)


def test_a_byte_order_mark_is_passed_over() -> None:
    """JSON behind a BOM is read; UTF-16 is named as such, and so is what is wrong behind a BOM."""
    text = '{"name": "a"}'

    assert decode(text.encode("utf-8-sig")) == {"name": "a"}
    for coding in ("utf-16", "utf-16-be"):
        with pytest.raises(Misfit, match=r"^not JSON, but UTF-16: JSON is UTF-8 \("):
            decode(("\ufeff" if coding == "utf-16-be" else "").__add__(text).encode(coding))
    for marks in (1, 2, 10_000):
        with pytest.raises(Misfit, match=r"^not JSON \("):
            decode(b"\xef\xbb\xbf" * marks + b"<html>")


@attrs.frozen(kw_only=True, slots=False)
class Chain:
    """A model that may hold others of its own kind."""

    next: "Chain | None" = None
    others: "list[Chain] | None" = None
    extra: Mapping[str, Any] = attrs.field(factory=dict[str, Any])


attrs.resolve_types(Chain)


@pytest.mark.parametrize("depth", [300, 600, 900, 1020])
def test_deep_answers_raise_no_bare_error(depth: int) -> None:
    """An answer nested as deep as JSON is read is kept; writing and comparing it end in order."""
    text = b'{"a":' * depth + b"1" + b"}" * depth
    model = structure({"id": "a", "metadata": decode(text), "new": decode(text)}, Thing)

    assert depth > 600 or model.metadata == model.extra["new"]
    with suppress(ValueError):
        assert unstructure(model)["id"] == "a"
    assert not covers(model, ThingBody(first_name="b"))
    assert not holds(decode(text), decode(text)) or depth < 900


@pytest.mark.parametrize(
    "wrap",
    [lambda one: {"next": one}, lambda one: {"others": [one]}],
    ids=["in a field", "in a list"],
)
def test_models_nested_too_deep_are_refused(wrap: Callable[[Any], Any]) -> None:
    """A model within a model, hundreds of times, is an answer that can't be read."""
    data: Any = {}
    for _ in range(1500):
        data = wrap(data)

    for read in (structure, structure_body):
        with pytest.raises(Misfit, match="nested too deep"):
            read(data, Chain)


def test_a_misfit_can_be_seen_from_outside() -> None:
    """The path of a misfit grows from the inside out."""
    assert str(Misfit("missing", "id").within("user")) == "user.id: missing"
    assert str(Misfit("missing", "[0]").within("users")) == "users[0]: missing"
    assert str(Misfit("missing").within("user")) == "user: missing"


@pytest.mark.parametrize(
    ("found", "sent", "expected"),
    [
        ({"a": 1, "b": 2}, {"a": 1}, True),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ({"a": 1}, {"a": 1, "b": None}, True),
        ({"a": 1, "b": 2}, {"b": None}, False),
        ({"p": {"x": 1, "y": 2}}, {"p": {"x": 1}}, True),
        ({"p": {"x": 2}}, {"p": {"x": 1}}, False),
        ({}, {"p": {}}, True),
        ({}, {"p": {"x": 1}}, False),
        ({"p": 5}, {"p": {"x": 1}}, False),
        ({"age": 30}, {"age": 30.0}, True),
        ({"age": 1}, {"age": True}, False),
        ({"age": False}, {"age": 0}, False),
        ({"age": "1"}, {"age": 1}, False),
        ({"color": "red"}, {"color": Color.RED}, True),
        ({"list": [1, 2]}, {"list": [1, 2]}, True),
        ({"list": [2, 1]}, {"list": [1, 2]}, False),
    ],
)
def test_what_is_there_holds_what_was_sent(found: object, sent: object, *, expected: bool) -> None:
    """What is there holds what was sent if each key that was set has its value; null is absent."""
    assert holds(found, sent) is expected


@pytest.mark.parametrize(
    ("found", "sent", "expected"),
    [
        ({"id": "a"}, Keyed(external_id="5"), False),
        ({"id": "a", "externalId": "5"}, Keyed(external_id="5"), True),
        ({"id": "a", "externalId": 5}, Keyed(external_id="5"), True),
        ({"id": "a", "externalId": 5}, Keyed(external_id="6"), False),
        ({"id": "a", "externalId": {"a": 1}}, Keyed(external_id="5"), False),
        ({"id": "a", "externalId": {"a": 1}}, Keyed(external_id=None), False),
        ({"id": "a"}, Keyed(external_id=None), True),
        ({"id": "a", "tags": ["b", None]}, Keyed(tags=["b"]), False),
        ({"id": "a", "tags": ["b"]}, Keyed(tags=["b"]), True),
        ({"id": "a", "tags": 5}, Keyed(tags=None), False),
        ({"id": "a", "name": 5}, Keyed(name="5"), False),
        ({"id": "a", "metadata": {"itemId": 5}}, Keyed(metadata={"itemId": "5"}), False),
        ({"id": "a", "metadata": {"b": 1, "c": 2}}, Keyed(metadata={"b": 1}), True),
        ({"id": "a", "metadata": {"b": 1}}, Keyed(metadata={"b": 1, "c": 2}), False),
    ],
)
def test_an_answer_covers_a_body_by_raw_values(found: Any, sent: object, *, expected: bool) -> None:
    """An unreadable field is unknown, not absent; the number of an id is its text."""
    assert covers(structure(found, KeyedAnswer), sent) is expected


@pytest.mark.parametrize(
    ("raw", "reading", "expected"),
    [
        ({}, None, False),
        ({"externalId": None}, None, False),
        ({"externalId": "5"}, "5", False),
        ({"externalId": 5}, "5", False),
        ({"externalId": 5.0}, "5", False),
        ({"externalId": 3.0045042291606e13}, "30045042291606", False),
        ({"externalId": 1.5}, "1.5", False),
        ({"externalId": -(2**70)}, str(-(2**70)), False),
        ({"externalId": 2.0**60}, None, True),
        ({"externalId": True}, None, True),
        ({"externalId": ["5"]}, None, True),
    ],
)
def test_the_number_of_an_id_reads_as_text(
    raw: Mapping[str, Any], reading: str | None, *, expected: bool
) -> None:
    """A number is read as the text of an id, unless its digits are lost; the raw value stays."""
    data = {"id": "a", **raw}
    found = structure(data, KeyedAnswer)

    assert found.external_id == reading
    assert is_unreadable(found, "external_id") is expected
    assert unstructure(found) == {key: value for key, value in data.items() if value is not None}
    assert found.extra == {key: value for key, value in raw.items() if value not in (None, "5")}


def test_a_field_that_was_set_wins_over_its_raw_value() -> None:
    """A raw value goes back out, until its field is set to something else."""
    raw = {"id": 7, "externalId": 5, "tags": ["b", None], "name": 5}
    found = structure(raw, KeyedAnswer)
    changed = attrs.evolve(found, external_id="6", tags=["c"], name="n")

    assert (found.id, found.external_id, found.tags, found.name) == ("7", "5", ["b"], None)
    assert unstructure(found) == raw
    assert unstructure(changed) == {"id": 7, "externalId": "6", "tags": ["c"], "name": "n"}
    assert unstructure(Keyed(external_id="5", extra={"externalId": 5})) == {"externalId": "5"}
    assert unstructure(KeyedAnswer(id="a", name="n", extra={"name": "m"}))["name"] == "n"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


@given(JSON)
def test_everything_holds_itself(value: object) -> None:
    """Whatever was sent, finding just that is finding it."""
    assert holds(value, value)
    assert holds(decode(encode(value)), unstructure(value))


@given(st.dictionaries(st.text(max_size=3), st.integers() | st.booleans(), min_size=1), st.data())
def test_another_value_is_noticed(sent: dict[str, Any], data: st.DataObject) -> None:
    """Where a key has another value than the one that was sent, it doesn't hold it."""
    key = data.draw(st.sampled_from(sorted(sent)))
    found = {**sent, key: "another value"}

    assert not holds(found, sent)


@given(JSON)
def test_plain_data_comes_back(value: object) -> None:
    """What JSON can hold comes back equal, keys, order and all."""
    assert operator.eq(decode(encode(value)), value)


def test_a_model_that_is_read_is_like_one_that_is_made() -> None:
    """What was read compares, copies, pickles and shows like a model that its class has made."""
    read = structure({"id": "a", "isNew": True, "new": 1}, Loose)
    made = Loose(id="a", is_new=True, extra={"new": 1})

    assert read == made
    assert repr(read) == repr(made)
    assert list(vars(read)) == list(vars(made))
    assert attrs.evolve(read, is_new=False) == attrs.evolve(made, is_new=False)
    assert pickle.loads(pickle.dumps(read)) == made  # noqa: S301 - our own
    assert structure({"id": "b"}, Loose).extra is not structure({"id": "b"}, Loose).extra
    with pytest.raises(Misfit, match="id: missing"):
        structure({"isNew": True}, Loose)


@attrs.frozen(kw_only=True, slots=False)
class Listing:
    """A model whose default is made anew for each."""

    names: list[str] = attrs.field(factory=list[str])
    extra: Mapping[str, Any] = attrs.field(factory=dict[str, Any])


def test_a_default_that_is_made_is_made_for_each() -> None:
    """A model that needs its class to make its defaults has them made."""
    assert structure({}, Listing) == Listing()
    assert structure({}, Listing).names is not structure({}, Listing).names


@pytest.mark.parametrize(
    "fail",
    [
        lambda: structure_inside({"thing": {"a": 1}}, "thing", Thing),
        lambda: structure([1], Thing),
        lambda: structure_body([1], ThingBody),
        lambda: decode(b"{"),
        lambda: encode(ThingBody(metadata={"a": math.nan})),
        lambda: unstructure({"a": math.nan}),
    ],
    ids=["structure_inside", "structure", "structure_body", "decode", "encode", "unstructure"],
)
def test_an_error_leaves_no_data_to_the_garbage_collector(fail: Callable[[], object]) -> None:
    """The answer or the body is gone with the error, also where the collector is off."""

    def failed() -> None:
        with pytest.raises(ValueError):  # noqa: PT011 - each has a text of its own
            fail()

    failed()  # the first time makes readers and writers
    gc.collect()
    gc.disable()
    try:
        before = sum(isinstance(one, ValueError) for one in gc.get_objects())
        failed()
        assert sum(isinstance(one, ValueError) for one in gc.get_objects()) == before
    finally:
        gc.enable()


class Level(Enum):
    """An enumeration of texts that are no text as such."""

    HIGH = "high"


@attrs.frozen(kw_only=True, slots=False)
class Loaded:
    """A model that needs a field of every kind."""

    name: str
    is_new: bool
    how_many: int
    price: float
    tags: list[str]
    best: Part
    since: datetime
    metadata: Mapping[str, Any]
    note: str | None = None
    also: list[str] | str | None = None
    extra: Mapping[str, Any] = attrs.field(factory=dict[str, Any])


LOADED: Final = Loaded(
    name="a", is_new=True, how_many=1, price=1.5, tags=["b"], best=Part(name="c"), since=AT,
    metadata={"d": 1},
)  # fmt: skip
UNFIT: Final[dict[str, tuple[list[Any], str]]] = {
    "name": ([5, True, 1.5, b"x", ["x"], {"a": 1}, None, AT], "expected text, got"),
    "is_new": (["false", 0, 1, 1.5, [], {}, None], "expected true or false, got"),
    "how_many": (["1", True, 1.5, [], {}, None], "expected an integer, got"),
    "price": (["1.5", False, [], {}, None], "expected a number, got"),
    "tags": (["b", b"b", 5, {"b"}, {"b": 1}, iter(["b"]), None], "expected a list, got"),
    "best": (["c", 5, {"name": "c"}, [], None, LOADED], "expected Part, got"),
    "since": (["2020-01-01", 5, AT.date(), None], "expected datetime, got"),
    "metadata": (["d", 5, True, [], [("d", 1)], None], "expected a mapping, got"),
    "note": ([5, [], {}], "expected text, got"),
    "also": ([5, {}, iter(["b"])], "expected a list, got"),
}


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        pytest.param(name, value, reason, id=f"{name} {type(value).__name__} {number}")
        for name, (values, reason) in UNFIT.items()
        for number, value in enumerate(values)
    ],
)
def test_a_value_of_another_type_is_refused(name: str, value: Any, reason: str) -> None:
    """The error names the field, the type expected and the type found: no generator is used up."""
    body = attrs.evolve(LOADED, **{name: value})
    is_model = isinstance(value, dict) and name == "best"
    hint = ": from_dict(Part, ...) makes a model of the service's names" if is_model else ""
    said = f"{wire_name(name)}: {reason} {type(value).__name__}{hint}"

    for write in (encode, unstructure):
        with pytest.raises(ValueError, match=rf"^{re.escape(said)}$"):
            write(body)


@pytest.mark.parametrize("name", [at.name for at in attrs.fields(Loaded) if at.name != "extra"])
def test_unset_is_no_value(name: str) -> None:
    """`UNSET` leaves out a field that may be left out, and is refused where the field is needed."""
    body = attrs.evolve(LOADED, **{name: UNSET})

    if attrs.fields_dict(Loaded)[name].default is None:
        assert encode(body) == encode(LOADED)
        return
    with pytest.raises(ValueError, match=rf"^{wire_name(name)}: UNSET leaves a key out, and this"):
        encode(body)


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ([None], "expected text, got NoneType"),
        (["b", UNSET], "UNSET leaves"),
        ([["b"]], "expected"),
    ],
)
def test_an_item_of_another_type_is_refused(tags: list[Any], reason: str) -> None:
    """The error names the item by its index."""
    with pytest.raises(ValueError, match=rf"^tags\[{len(tags) - 1}\]: {reason}"):
        encode(attrs.evolve(LOADED, tags=tags))


def test_subclasses_and_enums_go_out_by_value() -> None:
    """A subclass of a text or number, and an `Enum`, are written as the plain value."""

    class Price(float):
        """A number of a library, such as numpy's."""

    body = attrs.evolve(
        LOADED, name=Color.RED, note=Level.HIGH, price=Price(2.5), tags=(Color.RED,), also=["x"]
    )

    assert decode(encode(body)) == {
        **decode(encode(LOADED)), "name": "red", "note": "high", "price": 2.5, "tags": ["red"],
        "also": ["x"],
    }  # fmt: skip
    assert decode(encode(attrs.evolve(LOADED, price=2)))["price"] == 2
    plain = unstructure(body)
    assert [type(plain[name]) for name in ("name", "note", "price")] == [str, str, float]


@pytest.mark.parametrize(
    ("key", "kind"), [(1, "int"), (None, "NoneType"), (AT, "datetime"), (("a",), "tuple")]
)
def test_a_key_that_is_no_text_is_named(key: object, kind: str) -> None:
    """The error says where the key is and what it is; JSON's keys are text."""
    metadata: Any = {"a": [{key: "b"}]}

    with pytest.raises(ValueError, match=rf"^metadata\.a\[0\]: a key must be text, not {kind}$"):
        encode(ThingBody(metadata=metadata))


@attrs.frozen(kw_only=True, slots=False)
class Stamped:
    """A model with a time that JSON has as a number."""

    at: UnixTime | None = None
    extra: Mapping[str, Any] = attrs.field(factory=dict[str, Any])


@pytest.mark.parametrize("seconds", [1e12, -1e12, 1e20, -1e20, 10**30])
def test_a_number_in_no_calendar_is_no_time(seconds: float) -> None:
    """An answer keeps such a number beside the model; a body with it is refused."""
    assert structure({"at": seconds}, Stamped) == Stamped(extra={"at": seconds})
    with pytest.raises(Misfit, match=r"^at: expected a time in seconds since 1970$"):
        structure_body({"at": seconds}, Stamped)


def test_a_time_without_a_zone_is_refused_in_every_model() -> None:
    """Nobody can tell which time it is: the zone of this machine is no answer."""
    with pytest.raises(ValueError, match=r"^since: the time has no zone"):
        encode(attrs.evolve(LOADED, since=AT.replace(tzinfo=None)))


@pytest.mark.parametrize("content", ["Hello", {"type": "text"}, 5, sunshine.Author(type="user")])
def test_a_value_that_is_no_member_of_a_union_is_refused(content: Any) -> None:
    """A union of models takes its members only, as a field of one model takes that model."""
    with pytest.raises(
        ValueError, match=rf"^content: expected TextMessage, got {type(content).__name__}(: from|$)"
    ):
        encode(sunshine.MessagePost(content=content))
