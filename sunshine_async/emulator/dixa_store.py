"""Data of Dixa: end users with unique addresses, pages of lists, custom attributes."""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NoReturn, TypeVar, cast
from urllib.parse import parse_qsl, urlencode
from uuid import uuid4

from attrs import define, field

from sunshine_async.emulator.fields import (
    EMAIL,
    OBJECTS,
    TEXT,
    JsonObject,
    Schema,
    format_time,
    object_schema,
    omit,
    refuse,
    without_none,
)

_T = TypeVar("_T")

UNIQUE: Final = ("additionalEmails", "additionalPhoneNumbers")
LISTS: Final = (*UNIQUE, "middleNames")

_TEXT: Final = Schema(type="string", nullable=True)
INPUT: Final = object_schema(
    **dict.fromkeys(("displayName", "firstName", "lastName", "email", "phoneNumber"), _TEXT),
    **dict.fromkeys(("avatarUrl", "externalId"), _TEXT),
    **dict.fromkeys(LISTS, Schema(type="array", items=TEXT, nullable=True)),
)
BULK: Final = object_schema(data=Schema(type="array", items=INPUT.with_fields(id=TEXT)))
STORED: Final = INPUT.with_fields(
    id=TEXT, createdAt=Schema(type="string", format="time"), customAttributes=OBJECTS
)
ATTRIBUTES: Final = Schema(type="object")

_FLAG: Final = Schema(type="boolean")
DEFINITION: Final = object_schema(
    "id", "identifier", "label", "inputDefinition",
    **dict.fromkeys(("id", "entityType", "identifier", "label", "description"), TEXT),
    inputDefinition=object_schema("_type", _type=TEXT, placeholder=TEXT, options=OBJECTS),
    **dict.fromkeys(("createdAt", "updatedAt"), Schema(type="string", format="zoned time")),
    **dict.fromkeys(("isRequired", "isArchived", "isDeactivated"), _FLAG),
)  # fmt: skip
_OPTION: Final = object_schema(
    "value",
    **dict.fromkeys(("id", "label"), TEXT),
    value=Schema(type="string", min_length=1),
    nestedOptions=OBJECTS,
    isDeactivated=_FLAG,
    orderIndex=Schema(type="integer"),
)

_UUID: Final = re.compile(
    "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE
)
_DIGITS: Final = re.compile("[0-9]{1,10}")
_NUMBER: Final = re.compile(r"\+[1-9][0-9]{4,14}")
_CONTACT_RULES: Final[Mapping[str, tuple[re.Pattern[str], str]]] = {
    "email": (EMAIL, "should be an email address"),
    "additionalEmails": (EMAIL, "should be email addresses"),
    "phoneNumber": (_NUMBER, "should be a phone number in E.164"),
    "additionalPhoneNumbers": (_NUMBER, "should be phone numbers in E.164"),
}
CONFLICTS: Final[Mapping[str, tuple[str, ...]]] = {
    "EmailExists": ("email", "additionalEmails"),
    "PhoneNumberExists": ("phoneNumber", "additionalPhoneNumbers"),
}
"""By error code: the fields with values that are unique among end users."""


def contact_errors(value: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Yield a sentence for each field with an invalid address or number."""
    for name, (pattern, should) in _CONTACT_RULES.items():
        if not all(pattern.fullmatch(text) for text in _values(value, name)):
            yield f"{path}{name} {should}"


def is_uuid(text: str) -> bool:
    """Return True for a UUID in either case. Stored ids are in lower case."""
    return bool(_UUID.fullmatch(text))


@define(eq=False)
class EndUserStore:
    """The end users. A stored user never changes in place: a new user replaces the old."""

    on_change: Callable[[str, JsonObject | None], None] = lambda _id, _user: None
    """Called with the id of a user and the new user; with None after a removal."""
    by_id: dict[str, JsonObject] = field(factory=dict[str, JsonObject])
    _owners: dict[tuple[str, str], str] = field(factory=dict[tuple[str, str], str])
    """By conflict code and value: the id of the owner."""
    _by_external_id: defaultdict[str, dict[str, None]] = field(
        factory=lambda: defaultdict[str, dict[str, None]](dict)
    )
    _order: list[str | None] = field(factory=list[str | None])
    """The ids in the order of a list; None for a removed user."""
    _positions: dict[str, int] = field(factory=dict[str, int])

    def new_user(self, body: Mapping[str, Any]) -> JsonObject:
        """Return a new end user with the values of *body*; the user isn't stored yet."""
        return _with_lists({"id": str(uuid4()), "createdAt": format_time(), **without_none(body)})

    def apply_update(
        self, user: JsonObject, body: Mapping[str, Any], *, replace: bool
    ) -> JsonObject:
        """Return *user* with the values of *body*; *replace* clears missing fields."""
        kept = omit(user, *(INPUT.fields or {})) if replace else user
        return _with_lists(without_none({**kept, **body}))

    def conflicts(self, user: JsonObject) -> list[str]:
        """Return the codes of values of *user* that another user owns."""
        return [
            code
            for code in CONFLICTS
            if any(self._owners.get(key, user["id"]) != user["id"] for key in _keys(user, code))
        ]

    def put(self, user: JsonObject) -> None:
        """Store *user*; replace the user with the same id."""
        if user["id"] in self.by_id:
            self._unindex(self.by_id[user["id"]])
        else:
            self._positions[user["id"]] = len(self._order)
            self._order.append(user["id"])
        self.by_id[user["id"]] = user
        for key in _every_key(user):
            self._owners[key] = user["id"]
        if "externalId" in user:
            self._by_external_id[user["externalId"]][user["id"]] = None
        self.on_change(user["id"], user)

    def remove(self, user: JsonObject) -> None:
        self._unindex(self.by_id.pop(user["id"]))
        self._order[self._positions.pop(user["id"])] = None
        self.on_change(user["id"], None)

    def find(self, name: str, value: str) -> list[JsonObject]:
        """Return the users that the filter *name* finds."""
        if name == "externalId":
            return [self.by_id[user_id] for user_id in self._by_external_id.get(value, ())]
        code = "EmailExists" if name == "email" else "PhoneNumberExists"
        owner = self._owners.get((code, value.lower()))
        return [] if owner is None else [self.by_id[owner]]

    def page(self, offset: int, limit: int) -> tuple[list[JsonObject], bool]:
        """Return at most *limit* users from *offset* on, and True if there are more."""
        ids, more = page_of(self._order, offset, limit)
        users = [self.by_id[user_id] for user_id in ids if user_id is not None]
        return users, more

    def _unindex(self, user: JsonObject) -> None:
        for key in _every_key(user):
            del self._owners[key]
        if "externalId" in user:
            del self._by_external_id[user["externalId"]][user["id"]]


def _with_lists(user: JsonObject) -> JsonObject:
    """Return *user* with all list fields; a list of addresses or numbers has no duplicates."""
    lists = {name: [*user.get(name, ())] for name in LISTS}
    return {**user, **lists, **{name: [*dict.fromkeys(lists[name])] for name in UNIQUE}}


def _values(user: Mapping[str, Any], name: str) -> Sequence[str]:
    value = user.get(name)
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else value


def _keys(user: Mapping[str, Any], code: str) -> set[tuple[str, str]]:
    return {(code, value.lower()) for name in CONFLICTS[code] for value in _values(user, name)}


def _every_key(user: Mapping[str, Any]) -> set[tuple[str, str]]:
    return {key for code in CONFLICTS for key in _keys(user, code)}


def page_of(items: Sequence[_T], offset: int, limit: int) -> tuple[Sequence[_T], bool]:
    """Return at most *limit* items from *offset* on, and True if there are more."""
    return items[offset : offset + limit], offset + limit < len(items)


def paginate(
    path: str,
    query: Mapping[str, str],
    take: Callable[[int, int], tuple[Sequence[Any], bool]],
    filters: Mapping[str, str] = {},
) -> dict[str, Any]:
    """Return the page of *query*; *take* gives the data for an offset and a limit.

    The link to the next page repeats *filters*. Raise `Refusal` (400) for an invalid
    ``pageLimit`` or ``pageKey``.
    """
    size, offset = 50, 0
    if "pageKey" in query:
        try:
            key = dict(parse_qsl(urlsafe_b64decode(query["pageKey"]).decode()))
            size, offset = _number("pageKey", key["pageLimit"]), _number("pageKey", key["offset"])
        except (ValueError, KeyError):
            refuse_value("query parameter pageKey")
    if "pageLimit" in query:
        size = _number("pageLimit", query["pageLimit"])
    data, more = take(offset, size)
    page: dict[str, Any] = {"data": data}
    if more:
        key_text = urlencode({"pageLimit": size, "offset": offset + size})
        page_key = urlsafe_b64encode(key_text.encode()).decode()
        page["meta"] = {"next": f"{path}?{urlencode({**filters, 'pageKey': page_key})}"}
    return page


def _number(parameter: str, text: str) -> int:
    """Return an int32 above 0; raise `Refusal` (400) for anything else."""
    if not _DIGITS.fullmatch(text) or not 0 < int(text) < 2**31:
        refuse_value(f"query parameter {parameter}")
    return int(text)


def refuse_value(part: str) -> NoReturn:
    """Raise `Refusal` (400) for an invalid *part* of the request."""
    refuse(f"Invalid value for: {part}")


def parse_definition(data: Any) -> Mapping[str, Any]:
    """Return a definition with all fields; raise `ValueError` for an invalid definition.

    By default an active attribute of end users, optional, defined now. An option needs a ``value``.
    """
    definition: JsonObject = {
        "entityType": "Contact",
        "createdAt": f"{format_time()}[GMT]",
        **dict.fromkeys(("isRequired", "isArchived", "isDeactivated"), False),
        **DEFINITION.validate_strictly(data),
    }
    entity, given = definition["entityType"], definition["inputDefinition"]
    for problem, holds in {
        "id should be a UUID": not is_uuid(definition["id"]),
        "entityType should be Contact or Conversation": entity not in ("Contact", "Conversation"),
        "inputDefinition._type should be Text or Select": given["_type"] not in ("Text", "Select"),
    }.items():
        if holds:
            raise ValueError(problem)
    if given["_type"] == "Select":
        given = {**given, "options": _options(given.get("options", ()))}
    return {**definition, "id": definition["id"].lower(), "inputDefinition": {**given}}


def is_valid_value(definition: Mapping[str, Any], value: object) -> bool:
    """Return True if an end user can have *value* for an attribute; None clears the attribute.

    A Select takes the path of option values from a parent to a child.
    """
    if definition["entityType"] != "Contact":
        return False
    if value is None:
        return True
    if definition["inputDefinition"]["_type"] == "Text":
        return isinstance(value, str)
    steps = cast("list[object]", value)
    return isinstance(value, list) and _is_path(steps, definition["inputDefinition"]["options"])


def _options(given: Sequence[Any]) -> list[dict[str, Any]]:
    return [
        {
            "id": str(uuid4()),
            "label": option["value"],
            "isDeactivated": False,
            "orderIndex": index,
            **option,
            "nestedOptions": _options(option.get("nestedOptions", ())),
        }
        for index, option in enumerate(map(_OPTION.validate_strictly, given))
    ]


def _is_path(steps: Sequence[object], options: Sequence[Mapping[str, Any]]) -> bool:
    for step in steps:
        option = next((option for option in options if option["value"] == step), None)
        if option is None:
            return False
        options = option["nestedOptions"]
    return bool(steps)
