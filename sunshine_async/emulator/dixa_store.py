"""What Dixa has stored: end users, whose address or number is whose, and pages of lists."""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NoReturn, TypeAlias
from urllib.parse import parse_qsl, urlencode
from uuid import uuid4

from attrs import define, field

from sunshine_async.emulator.fields import Field, Refusal

Stored: TypeAlias = dict[str, Any]

PAGE_LIMIT: Final = 50
UNIQUE: Final = ("additionalEmails", "additionalPhoneNumbers")
LISTS: Final = (*UNIQUE, "middleNames")

_TEXT: Final = Field(type="string", nullable=True)
_TEXTS: Final = Field(type="array", items=Field(type="string"), nullable=True)
INPUT: Final = Field(
    type="object",
    fields={
        "displayName": _TEXT,
        "email": _TEXT,
        "phoneNumber": _TEXT,
        "additionalEmails": _TEXTS,
        "additionalPhoneNumbers": _TEXTS,
        "firstName": _TEXT,
        "lastName": _TEXT,
        "middleNames": _TEXTS,
        "avatarUrl": _TEXT,
        "externalId": _TEXT,
    },
)
STORED: Final = Field(
    type="object",
    fields={
        "id": Field(type="string"),
        "createdAt": Field(type="string", format="time"),
        **(INPUT.fields or {}),
        "customAttributes": Field(type="array", items=Field(type="object")),
    },
)

_UUID: Final = re.compile(
    "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE
)
_DIGITS: Final = re.compile("[0-9]{1,10}")
_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+")
_NUMBER: Final = re.compile(r"\+[1-9][0-9]{4,14}")
_KINDS: Final[Mapping[str, tuple[re.Pattern[str], str]]] = {
    "email": (_EMAIL, "should be an email address"),
    "additionalEmails": (_EMAIL, "should be email addresses"),
    "phoneNumber": (_NUMBER, "should be a phone number in E.164"),
    "additionalPhoneNumbers": (_NUMBER, "should be phone numbers in E.164"),
}
TAKEN: Final[Mapping[str, tuple[str, ...]]] = {
    "EmailExists": ("email", "additionalEmails"),
    "PhoneNumberExists": ("phoneNumber", "additionalPhoneNumbers"),
}
"""By code: what one end user only has."""


def known(value: Mapping[str, Any]) -> Stored:
    """Return *value* without what isn't known of an end user."""
    return {name: inner for name, inner in value.items() if name in (INPUT.fields or {})}


def problems(value: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Yield a sentence for each address and number that can't be one."""
    for name, (pattern, should) in _KINDS.items():
        if not all(pattern.fullmatch(one) for one in _values(value, name)):
            yield f"{path}{name} {should}"


def is_id(text: str) -> bool:
    """Return whether *text* is a UUID, in either case. Stored ids are in lower case."""
    return bool(_UUID.fullmatch(text))


def time_now() -> str:
    """Return the time as the service writes it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@define(eq=False)
class Store:
    """The end users. One that is stored is never changed in place: another takes its place."""

    tell: Callable[[str, Stored | None], None] = lambda _id, _user: None
    """Called with each id whose user is another now, or gone."""
    by_id: dict[str, Stored] = field(factory=dict[str, Stored])
    _owners: dict[tuple[str, str], str] = field(factory=dict[tuple[str, str], str])
    """By the code of its being taken, and what is taken: whose it is."""
    _by_external_id: defaultdict[str, dict[str, None]] = field(
        factory=lambda: defaultdict[str, dict[str, None]](dict)
    )
    _order: list[str | None] = field(factory=list[str | None])
    """The ids in the order of a list; None in the place of a user that is gone."""
    _places: dict[str, int] = field(factory=dict[str, int])

    def made(self, body: Mapping[str, Any]) -> Stored:
        """Return a new end user as *body* has it, who isn't stored yet."""
        user: Stored = {"id": str(uuid4()), "createdAt": time_now(), **dict.fromkeys(LISTS, ())}
        user |= {name: value for name, value in body.items() if value is not None}
        return _listed(user)

    def changed(self, user: Stored, body: Mapping[str, Any], *, whole: bool) -> Stored:
        """Return *user* with what *body* sets; *whole*: and without what it doesn't."""
        kept = user if not whole else {name: user[name] for name in user if name not in known(user)}
        merged = {**kept, **known(body)}
        user = {name: value for name, value in merged.items() if value is not None}
        return _listed(user)

    def taken(self, user: Stored) -> list[str]:
        """Return the codes of what *user* has that is another's."""
        return [
            code
            for code in TAKEN
            if any(self._owners.get(key, user["id"]) != user["id"] for key in _keys(user, code))
        ]

    def put(self, user: Stored) -> None:
        """Store *user*, in the place of who has that id."""
        if user["id"] in self.by_id:
            self._unlist(self.by_id[user["id"]])
        else:
            self._places[user["id"]] = len(self._order)
            self._order.append(user["id"])
        self.by_id[user["id"]] = user
        for key in _every_key(user):
            self._owners[key] = user["id"]
        if "externalId" in user:
            self._by_external_id[user["externalId"]][user["id"]] = None
        self.tell(user["id"], user)

    def drop(self, user: Stored) -> None:
        """Forget *user*."""
        self._unlist(self.by_id.pop(user["id"]))
        self._order[self._places.pop(user["id"])] = None
        self.tell(user["id"], None)

    def found(self, name: str, value: str) -> list[Stored]:
        """Return who the filter *name* finds."""
        if name == "externalId":
            return [self.by_id[one] for one in self._by_external_id.get(value, ())]
        code = "EmailExists" if name == "email" else "PhoneNumberExists"
        owner = self._owners.get((code, value.lower()))
        return [] if owner is None else [self.by_id[owner]]

    def page(self, offset: int, limit: int) -> tuple[list[Stored], bool]:
        """Return the users from *offset* on, at most *limit*, and whether there are more."""
        ids = self._order[offset : offset + limit]
        there = [self.by_id[one] for one in ids if one is not None]
        return there, offset + limit < len(self._order)

    def _unlist(self, user: Stored) -> None:
        for key in _every_key(user):
            del self._owners[key]
        if "externalId" in user:
            del self._by_external_id[user["externalId"]][user["id"]]


def _listed(user: Stored) -> Stored:
    """Return *user* with all lists; those of addresses and numbers hold each once."""
    lists = {name: [*user.get(name, ())] for name in LISTS}
    return {**user, **lists, **{name: [*dict.fromkeys(lists[name])] for name in UNIQUE}}


def _values(user: Mapping[str, Any], name: str) -> Sequence[str]:
    value = user.get(name)
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else value


def _keys(user: Mapping[str, Any], code: str) -> set[tuple[str, str]]:
    return {(code, one.lower()) for name in TAKEN[code] for one in _values(user, name)}


def _every_key(user: Mapping[str, Any]) -> set[tuple[str, str]]:
    return {key for code in TAKEN for key in _keys(user, code)}


def paged(
    path: str,
    query: Mapping[str, str],
    take: Callable[[int, int], tuple[Sequence[Any], bool]],
    *,
    kept: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return the page that *query* asks for, of what *take* gives from an offset on.

    The link to the next one has the filters that are to be *kept*. Raise `Refusal` (400) for a
    ``pageLimit`` or a ``pageKey`` that can't be.
    """
    size, offset = PAGE_LIMIT, 0
    if "pageKey" in query:
        try:
            key = dict(parse_qsl(urlsafe_b64decode(query["pageKey"]).decode()))
            size, offset = _number(key["pageLimit"]), _number(key["offset"])
        except (ValueError, KeyError):
            refuse("query parameter pageKey")
    if "pageLimit" in query:
        try:
            size = _number(query["pageLimit"])
        except ValueError:
            refuse("query parameter pageLimit")
    data, more = take(offset, size)
    page: dict[str, Any] = {"data": data}
    if more:
        key_text = urlencode({"pageLimit": size, "offset": offset + size})
        page_key = urlsafe_b64encode(key_text.encode()).decode()
        page["meta"] = {"next": f"{path}?{urlencode({**(kept or {}), 'pageKey': page_key})}"}
    return page


def _number(text: str) -> int:
    """Return an int32 above 0; raise `ValueError` for any other text."""
    if not _DIGITS.fullmatch(text) or not 0 < int(text) < 2**31:
        raise ValueError
    return int(text)


def refuse(what: str) -> NoReturn:
    """Raise `Refusal` (400), because of *what* can't be."""
    raise Refusal(400, "bad_request", f"Invalid value for: {what}")
