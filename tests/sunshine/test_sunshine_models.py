"""The models of Sunshine users: all that they hold comes back, and a ``repr`` is discreet."""

import inspect
from collections.abc import Iterator
from datetime import datetime
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import Any, get_args, get_type_hints

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.models import whole
from support.size import sized

from sunshine_async import sunshine
from sunshine_async._codec import decode, encode, structure
from sunshine_async._codec.model import Model
from sunshine_async.sunshine import User, UserCreateBody, UserUpdateBody
from sunshine_async.sunshine import models as user_models

MODELS = [
    kind
    for _, kind in inspect.getmembers(user_models, attrs.has)
    if kind.__module__ == user_models.__name__
]
BODIES = [kind for kind in MODELS if kind.__name__ == "Profile" or kind.__name__.endswith("Body")]
SHOWN = {
    "brand_id",
    "id",
    "locale",
    "locale_origin",
    "surviving_zendesk_id",
    "type",
    "verification",
    "zendesk_id",
}


def modules() -> Iterator[ModuleType]:
    """Yield each module of the package."""
    for one in iter_modules(sunshine.__path__):
        yield import_module(f"{sunshine.__name__}.{one.name}")


def test_the_package_has_every_model() -> None:
    """Each model of each module, but the envelopes, can be imported from the package."""
    there = {
        name: kind
        for module in modules()
        for name, kind in inspect.getmembers(module, inspect.isclass)
        if issubclass(kind, Model) and kind.__module__ == module.__name__
        if not name.startswith("_") and not name.endswith("Response")
    }

    assert {name: getattr(sunshine, name) for name in there} == there
    assert there.keys() <= set(sunshine.__all__)


@pytest.mark.parametrize("kind", MODELS)
@given(data=st.data())
@settings(max_examples=sized(40, 5))
def test_a_model_comes_back(kind: type[Any], data: st.DataObject) -> None:
    """Any model, written as JSON and read again, is the same model."""
    model = data.draw(whole(kind))

    assert structure(decode(encode(model)), kind) == model


@pytest.mark.parametrize("kind", MODELS)
def test_a_model_is_frozen_and_keyword_only(kind: type[Any]) -> None:
    """A model can't be changed, and no field is given by its position."""
    model = kind(**({"id": "a"} if kind is User else {}))

    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        model.extra = {}
    with pytest.raises(TypeError):
        kind("a")


@pytest.mark.parametrize("kind", BODIES)
def test_an_empty_body_sends_nothing(kind: type[Any]) -> None:
    """A body in which nothing is set is an empty object."""
    assert encode(kind()) == b"{}"


@pytest.mark.parametrize("kind", MODELS)
def test_a_repr_shows_no_personal_data(kind: type[Any]) -> None:
    """A ``repr`` shows the service's own ids, locales and kinds, and nothing else as it is."""
    texts = {
        name: f"the {name}"
        for name, hint in get_type_hints(kind).items()
        if hint is str or (str in get_args(hint) and name != "extra")
    }
    objects = {
        name: {"key": f"the {name}"}
        for name in ("metadata", "extra")
        if name in attrs.fields_dict(kind)
    }
    shown = repr(kind(**texts, **objects))

    assert {name for name in texts | objects if f"the {name}" in shown} == SHOWN & set(texts)
    assert "key" not in shown


@pytest.mark.parametrize("kind", [UserCreateBody, UserUpdateBody])
def test_a_naive_time_in_a_body_is_refused(kind: type[Any]) -> None:
    """A time without a zone in a body is a `ValueError` that names the field."""
    with pytest.raises(ValueError, match="signed_up_at has no time zone"):
        kind(signed_up_at=datetime(2026, 1, 2))  # noqa: DTZ001 - the point


def test_an_unknown_value_passes() -> None:
    """A value that the service came up with later is no error."""
    user = structure({"id": "a", "identities": [{"type": "new", "verification": "newer"}]}, User)

    assert user.identities is not None
    assert [(one.type, one.verification) for one in user.identities] == [("new", "newer")]
