"""What models are made of: the key that is left out, times with a zone, a discreet ``repr``."""

import copy
import pickle
from datetime import UTC, date, datetime, timezone, tzinfo
from typing import Any
from unittest import mock

import attrs
import pytest
from support.size import sized

from sunshine_async import UNSET, Unset, smooch, sunshine, to_dict
from sunshine_async._codec.model import Model, redact, require_time_zone

EVERY_KIND = sorted(
    {
        kind
        for package in (sunshine, smooch)
        for name in package.__all__
        if isinstance(kind := getattr(package, name), type) and issubclass(kind, Model)
        if not hasattr(kind, "__attrs_post_init__")  # which refuses an example's values
    },
    key=lambda kind: (kind.__module__, kind.__name__),
)
KINDS = EVERY_KIND[:: sized(1, 12)]


@attrs.frozen
class Meeting:
    """A model with a time."""

    starts_at: datetime | Unset | None = attrs.field(default=UNSET, validator=require_time_zone)
    person: Any = attrs.field(default=UNSET, repr=redact)


def test_unset_is_false_in_a_condition() -> None:
    """`UNSET` is false, shows its name, and is no None."""
    assert not UNSET
    assert repr(UNSET) == "UNSET"
    assert UNSET is not None


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])  # fmt: skip # noqa: S301 - our own
def test_unset_stays_itself(again: Any) -> None:
    """There is one `UNSET`: what is copied or pickled is still it."""
    assert again(UNSET) is UNSET
    assert again(Meeting()) == Meeting()


@pytest.mark.parametrize(
    ("value", "shown"),
    [(UNSET, "UNSET"), (None, "None"), ({}, "{}"), ("Jane", "..."), ({"a": 1}, "..."), ("", "...")],
)
def test_a_concealed_field_shows_only_whether_it_is_set(value: object, shown: str) -> None:
    """A ``repr`` says that a field is set, not what to."""
    assert repr(Meeting(person=value)) == f"Meeting(starts_at=UNSET, person={shown})"


@pytest.mark.parametrize("value", [UNSET, None, datetime(2026, 1, 2, tzinfo=UTC)])
def test_a_time_with_a_zone_is_taken(value: datetime | Unset | None) -> None:
    """A time with a zone, None and `UNSET` are taken as they are."""
    assert Meeting(starts_at=value).starts_at is value


class Nowhere(tzinfo):
    """A zone that doesn't know its distance from UTC."""

    def utcoffset(self, _: datetime | None) -> None:
        return None


@pytest.mark.parametrize(
    "value",
    [
        datetime(2026, 1, 2),  # noqa: DTZ001 - the point
        datetime(2026, 1, 2, tzinfo=Nowhere()),
    ],
)
def test_a_time_without_a_zone_is_refused(value: datetime) -> None:
    """A naive time is a `ValueError` that names the field and says what to do, not the time."""
    with pytest.raises(ValueError, match=r"^starts_at has no time zone: give it one") as caught:
        Meeting(starts_at=value)

    assert "2026" not in str(caught.value)


def test_an_evolved_model_is_checked_too() -> None:
    """A naive time is refused by `attrs.evolve` too."""
    with pytest.raises(ValueError, match="starts_at"):
        attrs.evolve(Meeting(), starts_at=datetime(2026, 1, 2))  # noqa: DTZ001 - the point


def test_any_zone_will_do() -> None:
    """A time in any zone is taken."""
    zone = timezone.max

    assert Meeting(starts_at=datetime(2026, 1, 2, tzinfo=zone)).starts_at


@pytest.mark.parametrize("wrong", ["2020-05-21", 5, date(2020, 5, 21)])
def test_what_is_no_time_is_refused(wrong: object) -> None:
    """A text, a number or a mere day in the place of a time is a `TypeError` that names the field."""
    with pytest.raises(TypeError, match="starts_at must be a datetime, not"):
        Meeting(starts_at=wrong)  # type: ignore[arg-type]


def example(kind: Any, value: object, **others: object) -> Any:
    """Return a model of *kind* with *value* in all required fields, and *others* as they are."""
    required = [at.name for at in attrs.fields(kind) if at.init and at.default is attrs.NOTHING]
    return kind(**dict.fromkeys(required, value), **others)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_models_compare_and_show_as_attrs_does(kind: Any) -> None:
    """The methods that all models share give the results of the methods that attrs compiles."""
    compiled = attrs.frozen(kw_only=True, slots=False, eq=True, repr=True, unsafe_hash=True)
    twin = compiled(type(kind.__name__, (kind,), {}))
    one, other = example(kind, "a"), example(twin, "a")

    assert twin.__eq__ is not kind.__eq__
    assert repr(one) == repr(other)
    for made in (kind, twin):
        same, wider = example(made, "a"), example(made, "a", extra={"k": 1})
        assert (same == example(made, "a"), same == wider, same != wider) == (True, False, True)
        assert same != one or made is kind
        with pytest.raises(TypeError, match="unhashable type: 'dict'"):
            hash(same)
        frozen = [example(made, "a", extra=()) for _ in range(2)]
        assert hash(frozen[0]) == hash(frozen[1])
    assert pickle.loads(pickle.dumps(one)) == one  # noqa: S301 - our own


def test_a_model_inside_itself_is_shown_once() -> None:
    """A ``repr`` ends where a model is a part of that same model."""
    user = sunshine.User(id="a", identities=[])
    identity = sunshine.Identity(type=user)  # type: ignore[arg-type]
    user.identities.append(identity)  # type: ignore[union-attr]

    assert "identities=[Identity(extra={}, type=..., value=None" in repr(user)


class Quiet:
    """Methods of a user's own."""

    def __repr__(self) -> str:
        return "quiet"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Quiet)

    def __hash__(self) -> int:
        return 7


class QuietProfile(sunshine.Profile):
    """A model with methods of a user's own in the body of the class."""

    __repr__ = Quiet.__repr__
    __eq__ = Quiet.__eq__
    __hash__ = Quiet.__hash__


class Deep(QuietProfile):
    """A subclass of a subclass."""


class Mixed(Quiet, sunshine.Profile):
    """A subclass with a mixin."""


class Deeper(Mixed):
    """A subclass of a subclass with a mixin."""


class Plain(sunshine.Profile):
    """A subclass without methods."""


def test_a_subclass_inherits_methods_of_the_user() -> None:
    """A method of a user's own is inherited, over any number of classes; else all models' is."""
    for name in ("__repr__", "__eq__", "__hash__"):
        for kind in (QuietProfile, Deep, Mixed, Deeper):
            assert getattr(kind, name) is getattr(Quiet, name)
        assert getattr(Plain, name) is getattr(sunshine.Profile, name)


@attrs.frozen(kw_only=True, slots=False)
class Tagged(sunshine.Profile):
    """A model of a user's own, with fields that compare in their own ways."""

    extra: Any = ()
    note: str = attrs.field(default="", eq=False)
    name: str = attrs.field(default="", eq=str.lower)
    label: str = attrs.field(default="", hash=False)
    mark: str = attrs.field(default="", eq=False, hash=True)


@attrs.frozen(kw_only=True, slots=False)
class Token(sunshine.Profile):
    """A model of a user's own that leaves a field out, and has a hash."""

    extra: Any = ()
    note: str = attrs.field(default="", eq=False)


@attrs.frozen(kw_only=True, slots=False)
class Bare(Model):
    """A model of a user's own without a field that compares."""

    extra: Any = attrs.field(factory=dict, eq=False)


def test_fields_compare_as_declared() -> None:
    """A field's ``eq`` and ``hash`` have the meaning that attrs documents."""
    first = Tagged(note="1", name="A", label="1", mark="1")
    for change, equal, same_hash in (
        ({"note": "2"}, True, True),
        ({"name": "a"}, True, True),
        ({"name": "b"}, False, False),
        ({"label": "2"}, False, True),
        ({"mark": "2"}, True, False),
    ):
        other = attrs.evolve(first, **change)
        assert (first == other, hash(first) == hash(other)) == (equal, same_hash), change
    assert Token(note="1") == Token(note="2") != Token(given_name="a")
    assert hash(Token(note="1")) == hash(Token(note="2"))
    assert Bare(extra={"a": 1}) == Bare()
    assert hash(Bare(extra={"a": 1})) == hash(Bare())


def test_another_type_may_decide_to_be_equal() -> None:
    """A placeholder of a test, such as ``mock.ANY``, equals a model."""
    profile = sunshine.Profile(given_name="Jane")

    assert profile == mock.ANY
    assert profile != "Jane"


def test_a_subclass_keeps_its_own_methods() -> None:
    """A model of the user's, made from a model, has the methods that its class body has."""

    class Named(sunshine.Profile):
        def __repr__(self) -> str:
            return str(self.given_name)

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Named) and self.given_name == other.given_name

        def __hash__(self) -> int:
            return hash(self.given_name)

    jane, other = Named(given_name="Jane", surname="Doe"), Named(given_name="Jane")

    assert repr(jane) == "Jane"
    assert {jane} == {other}
    assert to_dict(jane) == {"givenName": "Jane", "surname": "Doe"}


def test_a_missing_time_of_pandas_is_refused() -> None:
    """``pandas.NaT`` is a datetime that equals nothing, and has no zone to ask for."""

    class NaT(datetime):
        """Like pandas' own."""

        __hash__ = datetime.__hash__

        def __ne__(self, other: object) -> bool:
            return True

    with pytest.raises(ValueError, match=r"^signed_up_at is not a time, but NaT"):
        sunshine.UserCreateBody(signed_up_at=NaT(2020, 1, 1, tzinfo=UTC))
