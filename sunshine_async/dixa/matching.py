"""Matching of end users: values compared, outcomes of a batch assigned to bodies. Pure.

Comparison follows the service's spelling: e-mail addresses in lower case, phone numbers without
blanks and dashes, empty as absent. A value of an answer that couldn't be read is unknown, never
absent. Normalized values are compared only, never sent.
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
"""Key of an end user: the name of a field, and a normalized value."""

_SEPARATORS: Final = str.maketrans("", "", " -().\t")


def _text(value: Any) -> Any:
    return value or None


def _email(value: Any) -> Any:
    return value.strip().lower() if isinstance(value, str) and value else None


def _phone(value: Any) -> Any:
    return value.translate(_SEPARATORS) if isinstance(value, str) and value else None


def _set_of(normalize: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda values: frozenset(map(normalize, values or ()))


def _sequence(values: Any) -> Any:
    return tuple(values or ())


NORMALIZERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "display_name": _text,
    "email": _email,
    "phone_number": _phone,
    "additional_emails": _set_of(_email),
    "additional_phone_numbers": _set_of(_phone),
    "first_name": _text,
    "last_name": _text,
    "middle_names": _sequence,
    "external_id": _text,
}
"""Fields that are compared. Not the picture: the service answers with a new address."""

_AVATAR: Final = "avatar_url"
_KEYS: Final = ("external_id", "email", "phone_number")
_MISREAD: Final = "\0misread"
"""Stand-in for an unreadable value: equal to no value that is sent."""


def differences(body: Any, user: EndUser) -> dict[str, Any]:
    """Return the fields that *body* sets to values which *user* lacks, or may lack."""
    sent = {name: getattr(body, name) for name in (*NORMALIZERS, _AVATAR)}
    return {
        name: value
        for name, value in sent.items()
        if value is not UNSET and NORMALIZERS.get(name, _text)(value) != _normalized(user, name)
    }


def holds(user: EndUser, body: Any) -> bool:
    """Return True if *user* surely has all values that *body* sets, except the picture."""
    return differences(body, user).keys() <= {_AVATAR}


def may_hold(user: EndUser, body: Any) -> bool:
    """Return True if *user* may have all values that *body* sets, except the picture."""
    return all(name == _AVATAR or is_unreadable(user, name) for name in differences(body, user))


def has_readable_keys(user: EndUser) -> bool:
    """Return True if all keys of *user* could be read."""
    names = (*_KEYS, "additional_emails", "additional_phone_numbers")
    return not (user.extra and any(is_unreadable(user, name) for name in names))


def _normalized(model: Any, name: str) -> Any:
    """Return the normalized value of the field *name*; an unreadable value is not absent."""
    if isinstance(model, EndUser) and is_unreadable(model, name):
        return _MISREAD
    return NORMALIZERS.get(name, _text)(getattr(model, name) or None)


def keys_of(model: Any) -> dict[str, str]:
    """Return the external id, e-mail address and phone number of *model*, normalized, if set."""
    found = {name: _normalized(model, name) for name in _KEYS}
    return {name: value for name, value in found.items() if value}


def unique_keys(model: Any) -> frozenset[Key]:
    """Return the keys that belong to a single end user: id, e-mail addresses, phone numbers."""
    emails = (model.email, *(model.additional_emails or ()))
    phones = (model.phone_number, *(model.additional_phone_numbers or ()))
    found: list[tuple[str, str | None]] = [
        ("id", _email(getattr(model, "id", None))),
        *(("email", _email(email)) for email in emails),
        *(("phone_number", _phone(phone)) for phone in phones),
    ]
    return frozenset((name, value) for name, value in found if value)


def all_keys(model: Any) -> frozenset[Key]:
    """Return the unique keys and the external id, which several end users may share."""
    return unique_keys(model) | keys_of(model).items()


def search_values(body: CreateEndUserInput) -> dict[str, str]:
    """Return the values to look *body* up by, as sent, in the order of looking up."""
    sent = {name: getattr(body, name) for name in _KEYS}
    return {name: value for name, value in sent.items() if value}


def key(name: str, value: str) -> Key:
    """Return the key for the *value* of the field *name*."""
    return name, NORMALIZERS[name](value)


def match_changes(
    sent: Sequence[BulkPatchEndUserInput | BulkUpdateEndUserInput], outcomes: Sequence[Outcome]
) -> list[Outcome | None]:
    """Return the outcome of each of *sent*, matched by id; None where *outcomes* are not certain.

    An outcome without an id is matched by position. Condition: there are as many outcomes as
    bodies, and every id stands at the position of the body.
    """
    at = {body.id.lower(): index for index, body in enumerate(sent)}
    owners = [at.get(_id_of(outcome)) for outcome in outcomes]
    in_order = len(outcomes) == len(sent) and all(
        index == position if _id_of(outcome) else not isinstance(outcome, BulkActionSuccess)
        for position, (index, outcome) in enumerate(zip(owners, outcomes, strict=True))
    )
    return _assigned(len(sent), owners, outcomes, in_order=in_order)


def match_creates(
    sent: Sequence[CreateEndUserInput], outcomes: Sequence[Outcome]
) -> list[Outcome | None]:
    """Return the outcome of each of *sent*; None where *outcomes* are not certain.

    A success is matched by e-mail address, phone number or external id. The rest, failures
    included, is matched by position. Conditions: there are as many outcomes as bodies, no id
    stands twice, and every success agrees with the body at the same position.
    """
    at: defaultdict[Key, list[int]] = defaultdict(list)
    for index, body in enumerate(sent):
        for item in keys_of(body).items():
            at[item].append(index)
    owners = [
        _owner_of(outcome.data, sent, at) if isinstance(outcome, BulkActionSuccess) else None
        for outcome in outcomes
    ]
    ids = [id_ for id_ in map(_id_of, outcomes) if id_]
    in_order = (
        len(outcomes) == len(sent)
        and len(set(ids)) == len(ids)
        and all(
            index == position if index is not None else _agrees(outcome.data, sent[position])
            for position, (index, outcome) in enumerate(zip(owners, outcomes, strict=True))
            if isinstance(outcome, BulkActionSuccess)
        )
    )
    return _assigned(len(sent), owners, outcomes, in_order=in_order)


def _agrees(user: EndUser, body: CreateEndUserInput) -> bool:
    """Return True if *user* has all that *body* sets, and no key that *body* lacks."""
    same_keys = keys_of(user).items() <= keys_of(body).items()
    return same_keys and has_readable_keys(user) and holds(user, body)


def _owner_of(
    user: EndUser, sent: Sequence[CreateEndUserInput], at: Mapping[Key, Sequence[int]]
) -> int | None:
    keys = keys_of(user)
    personal = {
        index
        for name in ("email", "phone_number")
        for index in at.get((name, keys.get(name, "")), ())
    }
    if len(personal) == 1:
        return personal.pop()
    named = at.get(("external_id", keys.get("external_id", "")), ())
    if len(named) != 1 or len(keys) > 1 or len(keys_of(sent[named[0]])) > 1:
        return None
    return named[0] if has_readable_keys(user) else None


def _id_of(outcome: Outcome) -> str:
    match outcome:
        case BulkActionSuccess(data=user):
            found: Any = user.id
        case BulkActionFailure(error=error):
            found = getattr(error, "id", None)
        case _:
            found = outcome.extra.get("id")
    return found.lower() if isinstance(found, str) else ""


def _assigned(
    count: int, owners: Sequence[int | None], outcomes: Sequence[Outcome], *, in_order: bool
) -> list[Outcome | None]:
    """Return the outcome of each of *count* items: by owner, then by position if *in_order*.

    An item with contradictory outcomes has no outcome by owner.
    """
    owned: defaultdict[int | None, list[Outcome]] = defaultdict(list)
    for index, outcome in zip(owners, outcomes, strict=True):
        owned[index].append(outcome)
    all_owned = [owned[index] for index in range(count)]
    found = [mine[0] if len({*map(type, mine)}) == 1 else None for mine in all_owned]
    if not in_order:
        return found
    return [mine or other for mine, other in zip(found, outcomes, strict=True)]
