"""Which end user is whose: values compared, and the answers to a batch given to its items. Pure.

Values are compared as the service may write them: e-mail addresses in lower case, phone numbers
without blanks and dashes, an empty value as an absent one. A value of an answer that couldn't be
read is unknown, never absent. Nothing compared here is sent.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from sunshine_async._codec import is_unreadable
from sunshine_async._codec.model import UNSET
from sunshine_async.dixa.models import (
    BulkActionFailure,
    BulkActionSuccess,
    BulkPatchEndUserInput,
    BulkUpdateEndUserInput,
    CreateEndUserInput,
    EndUser,
    Outcome,
)

Key: TypeAlias = tuple[str, str]
"""What names an end user: the name of a field, and a value to compare."""

_APART: Final = str.maketrans("", "", " -().\t")


def _text(value: Any) -> Any:
    return value or None


def _address(value: Any) -> Any:
    return value.strip().lower() if isinstance(value, str) and value else None


def _number(value: Any) -> Any:
    return value.translate(_APART) if isinstance(value, str) and value else None


def _each(same: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def compared(values: Any) -> Any:
        return frozenset(map(same, values or ()))

    return compared


def _listed(values: Any) -> Any:
    return tuple(values or ())


COMPARED: Final[Mapping[str, Callable[[Any], Any]]] = {
    "display_name": _text,
    "email": _address,
    "phone_number": _number,
    "additional_emails": _each(_address),
    "additional_phone_numbers": _each(_number),
    "first_name": _text,
    "last_name": _text,
    "middle_names": _listed,
    "external_id": _text,
}
"""What of an end user is compared, and as what. The service gives pictures an address of its own."""

_AVATAR: Final = "avatar_url"
_KEYS: Final = ("external_id", "email", "phone_number")
_MISREAD: Final = "\0misread"
"""In the place of a value that can't be read: no value that is sent equals it."""


def differences(body: Any, user: EndUser) -> dict[str, Any]:
    """Return the fields that *body* sets to something that *user* hasn't, or may not have."""
    sent = {name: getattr(body, name) for name in (*COMPARED, _AVATAR)}
    return {
        name: value
        for name, value in sent.items()
        if value is not UNSET and COMPARED.get(name, _text)(value) != _compared(user, name)
    }


def holds(user: EndUser, body: Any) -> bool:
    """Return whether *user* surely has all values that *body* sets, but for the picture."""
    return differences(body, user).keys() <= {_AVATAR}


def may_hold(user: EndUser, body: Any) -> bool:
    """Return whether *user* may have all values that *body* sets, but for the picture."""
    return all(name == _AVATAR or is_unreadable(user, name) for name in differences(body, user))


def is_indexable(user: EndUser) -> bool:
    """Return whether all keys of *user* could be read."""
    names = (*_KEYS, "additional_emails", "additional_phone_numbers")
    return not (user.extra and any(is_unreadable(user, name) for name in names))


def _compared(model: Any, name: str) -> Any:
    """Return the field *name* of *model* as a value to compare; unreadable is not absent."""
    if isinstance(model, EndUser) and is_unreadable(model, name):
        return _MISREAD
    return COMPARED.get(name, _text)(getattr(model, name) or None)


def keys_of(model: Any) -> dict[str, str]:
    """Return what *model* is found by: external id, e-mail and phone number, those that it has."""
    found = {name: _compared(model, name) for name in _KEYS}
    return {name: value for name, value in found.items() if value}


def unique_keys(model: Any) -> frozenset[Key]:
    """Return what no other end user has: id, e-mail addresses and phone numbers."""
    emails = (model.email, *(model.additional_emails or ()))
    numbers = (model.phone_number, *(model.additional_phone_numbers or ()))
    found: list[tuple[str, str | None]] = [
        ("id", _address(getattr(model, "id", None))),
        *(("email", _address(one)) for one in emails),
        *(("phone_number", _number(one)) for one in numbers),
    ]
    return frozenset((name, value) for name, value in found if value)


def all_keys(model: Any) -> frozenset[Key]:
    """Return them and the external id, which several may have."""
    return unique_keys(model) | keys_of(model).items()


def asked(body: CreateEndUserInput) -> dict[str, str]:
    """Return what *body* may be found by, as it is sent, in the order of looking."""
    sent = {name: getattr(body, name) for name in _KEYS}
    return {name: value for name, value in sent.items() if value}


def key(name: str, value: str) -> Key:
    """Return *value*, which stands in the field *name*, as what is compared."""
    compared: str = COMPARED[name](value)
    return name, compared


def of_changes(
    sent: Sequence[BulkPatchEndUserInput | BulkUpdateEndUserInput], outcomes: Sequence[Outcome]
) -> list[Outcome | None]:
    """Return what became of each of *sent*, by id; None where *outcomes* don't surely say.

    An outcome without an id is taken by its position, if there are as many as were sent and every
    id stands where its item does.
    """
    at = {one.id.lower(): index for index, one in enumerate(sent)}
    whose = [at.get(_id_of(outcome)) for outcome in outcomes]
    found = _claimed(len(sent), whose, outcomes)
    in_order = len(outcomes) == len(sent) and all(
        index == position if _id_of(outcome) else not isinstance(outcome, BulkActionSuccess)
        for position, (index, outcome) in enumerate(zip(whose, outcomes, strict=True))
    )
    return _by_position(found, outcomes) if in_order else found


def of_creates(
    sent: Sequence[CreateEndUserInput], outcomes: Sequence[Outcome]
) -> list[Outcome | None]:
    """Return what became of each of *sent*; None where *outcomes* don't surely say.

    Successes go by e-mail, phone number or external id. Positions are trusted, for failures too,
    if there are as many outcomes as were sent, none twice, and every success stands where an item
    does that it agrees with.
    """
    at: defaultdict[Key, list[int]] = defaultdict(list)
    for index, body in enumerate(sent):
        for key in keys_of(body).items():
            at[key].append(index)
    whose = [
        _item_of(outcome.data, sent, at) if isinstance(outcome, BulkActionSuccess) else None
        for outcome in outcomes
    ]
    found = _claimed(len(sent), whose, outcomes)
    ids = [id_ for id_ in map(_id_of, outcomes) if id_]
    in_order = (
        len(outcomes) == len(sent)
        and len(set(ids)) == len(ids)
        and all(
            index == position if index is not None else _agrees(outcome.data, sent[position])
            for position, (index, outcome) in enumerate(zip(whose, outcomes, strict=True))
            if isinstance(outcome, BulkActionSuccess)
        )
    )
    return _by_position(found, outcomes) if in_order else found


def _agrees(user: EndUser, body: CreateEndUserInput) -> bool:
    """Return whether *user* has no key that *body* hasn't, and all that it sets."""
    same_keys = keys_of(user).items() <= keys_of(body).items()
    return same_keys and is_indexable(user) and holds(user, body)


def _item_of(
    user: EndUser, sent: Sequence[CreateEndUserInput], at: Mapping[Key, Sequence[int]]
) -> int | None:
    """Return the one item whose keys *user* has."""
    keys = keys_of(user)
    personal = {
        index
        for name in ("email", "phone_number")
        if name in keys
        for index in at.get((name, keys[name]), ())
    }
    if len(personal) == 1:
        return personal.pop()
    named = at.get(("external_id", keys.get("external_id", "")), ())
    if len(named) != 1 or len(keys) > 1 or len(keys_of(sent[named[0]])) > 1:
        return None
    return named[0] if is_indexable(user) else None


def _id_of(outcome: Outcome) -> str:
    match outcome:
        case BulkActionSuccess(data=user):
            found: Any = user.id
        case BulkActionFailure(error=error):
            found = getattr(error, "id", None)
        case _:
            found = outcome.extra.get("id")
    return found.lower() if isinstance(found, str) else ""


def _claimed(
    count: int, whose: Sequence[int | None], outcomes: Sequence[Outcome]
) -> list[Outcome | None]:
    """Give each item the outcome that is its own; None where several contradict each other."""
    found: list[Outcome | None] = [None] * count
    disputed: set[int] = set()
    for index, outcome in zip(whose, outcomes, strict=True):
        if index is None:
            continue
        earlier = found[index]
        if earlier is not None and type(earlier) is not type(outcome):
            disputed.add(index)
        found[index] = earlier or outcome
    return [None if index in disputed else outcome for index, outcome in enumerate(found)]


def _by_position(
    found: Sequence[Outcome | None], outcomes: Sequence[Outcome]
) -> list[Outcome | None]:
    return [one or there for one, there in zip(found, outcomes, strict=True)]
