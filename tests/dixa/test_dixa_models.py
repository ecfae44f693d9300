"""The models of Dixa: all that they hold comes back, and a ``repr`` is discreet."""

import inspect
from typing import Any, get_args, get_origin, get_type_hints

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.models import whole
from support.size import sized

from sunshine_async import dixa
from sunshine_async._codec import (
    Misfit,
    decode,
    encode,
    name_of,
    structure,
    structure_body,
    structure_inside,
    unstructure,
)
from sunshine_async._codec.model import Model
from sunshine_async.dixa import (
    BulkPatchEndUserInput,
    CreateEndUserInput,
    CustomAttribute,
    EndUser,
    UpdateEndUserInput,
    conversations,
    models,
)
from sunshine_async.dixa import custom_attributes as definitions

MODELS = [
    kind
    for module in (models, conversations, definitions)
    for name, kind in inspect.getmembers(module, attrs.has)
    if kind.__module__ == module.__name__ and issubclass(kind, Model)
    if not name.startswith("_")
]
INPUTS = [kind for kind in MODELS if kind.__name__.endswith("EndUserInput")]
SHOWN = {
    "agent_id", "channel", "conversation_type", "description", "direction", "entity_type", "id",
    "identifier", "label", "language", "name", "next", "placeholder", "previous", "requested_by",
    "requester_id", "state", "target_entity_id", "type", "value", "version",
}  # fmt: skip
"""The fields of text that say nothing about a person; a custom attribute's value isn't shown."""


def needed(kind: Any) -> dict[str, Any]:
    """Return what a *kind* can't be made without."""
    found: dict[str, Any] = {}
    for field in attrs.fields(kind):
        if field.default is attrs.NOTHING:
            hint = get_type_hints(kind)[field.name]
            members = [one for one in get_args(hint) if attrs.has(one)]
            found[field.name] = (
                "a" if hint is str
                else 1 if hint is int
                else [] if get_origin(hint) is list
                else (members[0] if members else hint)(**needed(members[0] if members else hint))
            )  # fmt: skip
    return found


def test_the_package_has_every_model() -> None:
    """Each model can be imported from the package."""
    assert [kind for kind in MODELS if getattr(dixa, kind.__name__, None) is not kind] == []


@pytest.mark.parametrize("kind", MODELS)
@given(data=st.data())
@settings(max_examples=sized(10, 5))
def test_a_model_comes_back(kind: type[Any], data: st.DataObject) -> None:
    """Any model, written as JSON and read again, is the same model."""
    model = data.draw(whole(kind))

    assert structure(decode(encode(model)), kind) == model


@pytest.mark.parametrize("kind", MODELS)
def test_a_model_is_frozen_and_keyword_only(kind: type[Any]) -> None:
    """A model can't be changed, and no field is given by its position."""
    model = kind(**needed(kind))

    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        model.extra = {}
    with pytest.raises(TypeError):
        kind("a")


@pytest.mark.parametrize("kind", INPUTS)
def test_an_empty_body_sends_what_it_has_to(kind: type[Any]) -> None:
    """A body sends what it can't be made without, and nothing else."""
    body = kind(**needed(kind))

    assert decode(encode(body)).keys() == {
        name_of(getattr(attrs.fields(kind), one)) for one in needed(kind)
    }


@pytest.mark.parametrize("kind", MODELS)
def test_a_repr_shows_no_personal_data(kind: type[Any]) -> None:
    """A ``repr`` shows ids, kinds and states, and nothing else as it is."""
    hints = get_type_hints(kind)
    texts = {
        name: f"the {name}"
        for name, hint in hints.items()
        if hint in (str, Any) or (str in get_args(hint) and name != "extra")
    }
    lists = {name: ["the list"] for name, hint in hints.items() if list[str] in get_args(hint)}
    shown = repr(kind(**{**needed(kind), **lists, **texts}, extra={"key": "the extra"}))
    concealed = {"value", "name"} if kind is CustomAttribute else set()

    found = {name for name in texts if f"'the {name}'" in shown}
    assert found == (SHOWN - (concealed - {"name"})) & set(texts)
    assert "the list" not in shown
    assert "the extra" not in shown


def test_null_is_sent_and_unset_is_not() -> None:
    """None goes out as null, what isn't set doesn't go out."""
    body = CreateEndUserInput(email=None, middle_names=["J."], extra={"new": 1})

    assert encode(body) == b'{"new":1,"email":null,"middleNames":["J."]}'
    assert encode(UpdateEndUserInput(display_name="Jane")) == b'{"displayName":"Jane"}'
    assert encode(BulkPatchEndUserInput(id="a")) == b'{"id":"a"}'


def test_absent_reads_as_none() -> None:
    """An absent field of an answer reads as None, an empty list as an empty list."""
    user = structure({"id": "a", "middleNames": []}, EndUser)

    assert user.email is None
    assert user.custom_attributes is None
    assert user.middle_names == []


@pytest.mark.parametrize(
    ("value", "reading"),
    [
        ("abc", "abc"), (["a", "b"], ["a", "b"]), (None, None),
        (5, None), ({"x": 1}, None), (["a", 5], ["a"]),
    ],
)  # fmt: skip
def test_a_value_of_an_attribute_is_text_or_a_list(value: Any, reading: Any) -> None:
    """A custom attribute holds a text or a list of texts; any other value stays in `extra`."""
    read = structure({"id": "a", "value": value}, CustomAttribute)

    assert read.value == reading
    assert read.extra == ({} if value == reading else {"value": value})


def test_a_null_where_kinds_are_told_apart_is_none() -> None:
    """A null where one of several kinds may stand reads as None."""
    read = structure({"id": 1, "link": None}, dixa.SmsConversation)

    assert read.link is None


@pytest.mark.parametrize("entity_type", ["UserAnonymizationType", {"a": 1}, None])
def test_any_entity_type_passes(entity_type: Any) -> None:
    """The kind of what is anonymized may be anything: the specification disagrees with itself."""
    read = structure({"id": "a", "entityType": entity_type}, dixa.AnonymizationRequest)

    assert read.entity_type == entity_type


def test_what_does_not_fit_is_named() -> None:
    """The path to a value that doesn't fit goes through unions and lists."""
    data = {
        "data": [
            {"_type": "EmailConversation", "id": 1},
            {"_type": "EmailConversation", "id": 1, "link": {"_type": "FollowUp", "parentId": "a"}},
        ]
    }

    with pytest.raises(Misfit) as caught:
        structure_body([{"id": "a", "customAttributes": [{"id": 5}]}], list[EndUser])
    assert caught.value.path == "[0].customAttributes[0].id"
    page = structure(data, dixa.conversations.ListEndUserConversationsOutput)
    assert [type(one) for one in page.data] == [dixa.EmailConversation] * 2
    assert getattr(page.data[1], "link").extra == {"parentId": "a"}  # noqa: B009 - by its class
    assert unstructure(page) == data


def test_an_object_that_does_not_fit_its_kind_is_of_no_kind() -> None:
    """A conversation or an outcome without a needed field is an unknown one, with all its data."""
    conversation = {"_type": "EmailConversation", "subject": "a"}
    page = structure(
        {"data": [conversation, None, 5]}, dixa.conversations.ListEndUserConversationsOutput
    )
    assert page.data == [dixa.UnknownConversation(type="EmailConversation", extra={"subject": "a"})]
    assert unstructure(page) == {"data": [conversation, None, 5]}


@pytest.mark.parametrize(
    "odd",
    [
        None, 5, "text", [],
        {"_type": "BulkActionSuccess"},
        {"_type": "BulkActionSuccess", "data": None},
        {"_type": "BulkActionSuccess", "data": {"email": "a"}},
        {"_type": "BulkActionFailure", "error": None},
        {"_type": "BulkActionFailure", "error": "text"},
        {"_type": 5, "data": {"id": "a"}},
        {},
    ],
)  # fmt: skip
def test_an_outcome_that_cannot_be_read_keeps_its_place(odd: Any) -> None:
    """One outcome that can't be read is unknown, in its place; the others are as they are."""
    good = {"_type": "BulkActionSuccess", "data": {"id": "a"}}

    outcomes = structure_inside({"data": [good, odd, good]}, "data", list[dixa.Outcome])

    assert [type(one).__name__ for one in outcomes] == [
        "BulkActionSuccess", "UnknownOutcome", "BulkActionSuccess",
    ]  # fmt: skip
    assert unstructure(outcomes[1]) == (odd if isinstance(odd, dict) else {})
