"""Sunshine Conversations v2 users, as the specification has them.

Where it leaves something open, this is assumed:

- Any app id is an app, and apps have nothing in common.
- An external id is taken within its brand (users without a brand are one more such group). By
  external id or e-mail identity a request finds users of the brand that it names in ``brandId``, or
  of none where it names none. By id it finds a user whatever the brand.
- What is both one user's id and another's external id means the first.
- ``signedUpAt`` is the time of creation unless given; times come back in UTC with milliseconds.
- Fields that the schema doesn't have, and those that only the service sets, are accepted and ignored.
- A null in a profile or in metadata clears that field; null for metadata clears all of it. The
  4 KB of metadata are 4096 bytes as compact JSON, counted after merging.
- E-mail identities are compared without regard to case.
- There is no Support behind it: a sync finds the user (404 otherwise) in step. With a
  ``survivingZendeskId``, a user that has it takes over identities, and what it lacks itself of
  externalId, profile and metadata, and the outgoing user is gone; where nobody has it, the user
  is linked to it.
- Only `Sunshine.add` gives a user a zendeskId or identities.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import count
from typing import Any, Final, TypeAlias

import orjson
from attrs import define, field

from sunshine_async.emulator.fields import Field
from sunshine_async.emulator.refusal import Refusal
from sunshine_async.emulator.service import Answer, Asked, Operation
from sunshine_async.emulator.state import Change
from sunshine_async.sunshine import users

MAX_METADATA_BYTES: Final = 4096
EMAIL_FILTER: Final = "filter[identities.email]"

PROFILE: Final = Field(
    type="object",
    fields={
        "givenName": Field(type="string", min_length=1, max_length=128, nullable=True),
        "surname": Field(type="string", min_length=1, max_length=128, nullable=True),
        "email": Field(type="string", format="email", min_length=1, max_length=128, nullable=True),
        "avatarUrl": Field(
            type="string", format="uri", min_length=1, max_length=2048, nullable=True
        ),
        "locale": Field(type="string", min_length=1, max_length=64, nullable=True),
    },
)
UPDATE_BODY: Final = Field(
    type="object",
    fields={
        "signedUpAt": Field(type="string", format="time"),
        "toBeRetained": Field(type="boolean"),
        "profile": PROFILE,
        "metadata": Field(type="object", format="flat", nullable=True),
    },
)
CREATE_BODY: Final = Field(
    type="object",
    fields={
        "externalId": Field(type="string", min_length=1, max_length=1024),
        "brandId": Field(type="string", min_length=1, max_length=24, nullable=True),
        **(UPDATE_BODY.fields or {}),
    },
)
SYNC_BODY: Final = Field(type="object", fields={"survivingZendeskId": Field(type="string")})
IDENTITY: Final = Field(
    type="object",
    fields={
        "type": Field(type="string"),
        "value": Field(type="string", min_length=1, max_length=128),
        "verification": Field(type="string"),
    },
)
STORED: Final = Field(
    type="object",
    fields={
        "id": Field(type="string", min_length=1),
        "zendeskId": Field(type="string", min_length=1),
        "identities": Field(type="array", items=IDENTITY),
        **(CREATE_BODY.fields or {}),
    },
)
PERSONAL: Final = frozenset({"givenName", "surname", "email", "avatarUrl"})
EFFECTS: Final = ("create", "update", "delete", "delete_personal_information", "sync")

Stored: TypeAlias = dict[str, Any]


@define(eq=False)
class App:
    """The users of one app. A stored user is never changed in place: another takes its place."""

    by_id: dict[str, Stored] = field(factory=dict)
    by_external_id: dict[tuple[str | None, str | None], Stored] = field(factory=dict)
    by_zendesk_id: dict[str | None, Stored] = field(factory=dict)
    changed: Callable[[str, Stored | None], None] = lambda _id, _user: None
    """Called with each id whose user is another now, or gone."""

    def put(self, user: Stored) -> None:
        """Store *user*, in the place of who has that id."""
        if user["id"] in self.by_id:
            self._unlist(self.by_id[user["id"]])
        self.by_id[user["id"]] = user
        if "externalId" in user:
            self.by_external_id[user.get("brandId"), user["externalId"]] = user
        if "zendeskId" in user:
            self.by_zendesk_id[user["zendeskId"]] = user
        self.changed(user["id"], user)

    def drop(self, user: Stored) -> None:
        """Forget *user*."""
        del self.by_id[user["id"]]
        self._unlist(user)
        self.changed(user["id"], None)

    def has_external_id_of(self, user: Mapping[str, Any]) -> bool:
        """Return whether the external id of *user* is taken."""
        return (user.get("brandId"), user.get("externalId")) in self.by_external_id

    def _unlist(self, user: Stored) -> None:
        self.by_external_id.pop((user.get("brandId"), user.get("externalId")), None)
        self.by_zendesk_id.pop(user.get("zendeskId"), None)


class Sunshine:
    """The users of every app, and what the API does with them."""

    def __init__(self) -> None:
        self.prefix: Final = "/v2/"
        self.operations: Final = (
            Operation(users.CREATE, self._create, CREATE_BODY),
            Operation(users.GET, self._get),
            Operation(users.UPDATE, self._update, UPDATE_BODY),
            Operation(users.DELETE, self._delete),
            Operation(users.DELETE_PERSONAL_INFORMATION, self._delete_personal_information),
            Operation(users.SYNC, self._sync, SYNC_BODY, needs_body=False),
            Operation(users.LIST, self._list),
        )
        self._run: Final = os.urandom(5).hex()
        self._number: Final = count()
        self._apps: dict[str, App] = {}
        self._keep: Callable[[Change], None] = lambda _: None
        self.effects: Counter[str] = Counter()
        self.clear()

    def __len__(self) -> int:
        return sum(len(app.by_id) for app in self._apps.values())

    def users(self, app_id: str | None = None) -> Iterator[Mapping[str, Any]]:
        apps = self._apps.values() if app_id is None else [self.app(app_id)]
        return (user for app in apps for user in app.by_id.values())

    def add(self, user: Mapping[str, Any], *, app_id: str) -> Mapping[str, Any]:
        """Store *user*, given as on the wire, and return it as stored. It is no effect.

        It may have what only the service sets: ``id``, ``zendeskId``, ``identities``. Raise
        `ValueError` for what a user can't be, and where one of its ids is taken.
        """
        app = self.app(app_id)
        try:
            stored = self.made(STORED.checked(user))
        except Refusal as refusal:
            message = "; ".join(refusal.titles)
            raise ValueError(message) from None
        for name, taken in {
            "id": stored["id"] in app.by_id,
            "externalId": app.has_external_id_of(stored),
            "zendeskId": stored.get("zendeskId") in app.by_zendesk_id,
        }.items():
            if taken:
                message = f"{name} is taken"
                raise ValueError(message)
        app.put(stored)
        return stored

    def problem(self, refusal: Refusal) -> Answer:
        errors = [{"code": refusal.code, "title": title} for title in refusal.titles]
        return Answer(refusal.status, {"errors": errors})

    def app(self, app_id: str) -> App:
        """Return the users of one app."""
        if app_id not in self._apps:
            self._apps[app_id] = App(changed=lambda who, user: self._keep([app_id, who, user]))
        return self._apps[app_id]

    def restore(self, change: Change) -> None:
        """Make a *change* that was kept."""
        if len(change) == 1:
            self.effects[change[0]] += 1
            return
        app_id, who, user = change
        app = self.app(app_id)
        if user is not None:
            app.put(user)
        else:
            app.drop(app.by_id[who])

    def keep(self, write: Callable[[Change], None]) -> None:
        """Hand every change to *write* from now on."""
        self._keep = write

    def clear(self) -> None:
        self._apps.clear()
        self.effects = Counter(dict.fromkeys(EFFECTS, 0))

    def _create(self, asked: Asked) -> Answer:
        app = self.app(asked.path["app_id"])
        if app.has_external_id_of(asked.body):
            raise Refusal(409, "conflict", "User already exists")
        user = self.made(asked.body)
        app.put(user)
        return self._answer("create", user, status=201)

    def _get(self, asked: Asked) -> Answer:
        _, user = self._found(asked)
        return Answer(200, {"user": user})

    def _update(self, asked: Asked) -> Answer:
        app, user = self._found(asked)
        updated = with_changes(user, asked.body)
        app.put(updated)
        return self._answer("update", updated)

    def _delete(self, asked: Asked) -> Answer:
        app, user = self._found(asked)
        app.drop(user)
        self._did("delete")
        return Answer(200, {})

    def _delete_personal_information(self, asked: Asked) -> Answer:
        app, user = self._found(asked)
        profile = {name: value for name, value in user["profile"].items() if name not in PERSONAL}
        cleared = {**user, "profile": profile, "metadata": {}}
        app.put(cleared)
        return self._answer("delete_personal_information", cleared)

    def _sync(self, asked: Asked) -> Answer:
        app = self.app(asked.path["app_id"])
        user = app.by_zendesk_id.get(asked.path["zendesk_id"])
        if user is None:
            raise not_found()
        surviving_id = asked.body.get("survivingZendeskId") or user["zendeskId"]
        if surviving_id != user["zendeskId"]:
            survivor = app.by_zendesk_id.get(surviving_id)
            app.drop(user)
            user = merged(survivor, user) if survivor else {**user, "zendeskId": surviving_id}
            app.put(user)
        return self._answer("sync", user)

    def _list(self, asked: Asked) -> Answer:
        email = asked.query.get(EMAIL_FILTER)
        if not email:
            raise Refusal(
                400, "bad_request", f"should have required query parameter {EMAIL_FILTER}"
            )
        identity = ("email", email.casefold())
        brand_id = asked.query.get("brandId")
        found = [
            user
            for user in self.app(asked.path["app_id"]).by_id.values()
            if user.get("brandId") == brand_id and identity in map(_key, user["identities"])
        ]
        return Answer(200, {"users": found})

    def _found(self, asked: Asked) -> tuple[App, Stored]:
        app = self.app(asked.path["app_id"])
        key = asked.path["user_id_or_external_id"]
        user = app.by_id.get(key) or app.by_external_id.get((asked.query.get("brandId"), key))
        if user is None:
            raise not_found()
        return app, user

    def new_id(self) -> str:
        """Return an id that nothing else has."""
        return f"{int(datetime.now(UTC).timestamp()):08x}{self._run}{next(self._number):06x}"

    def made(self, body: Mapping[str, Any]) -> Stored:
        """Return a new user as *body* has it, who isn't stored yet."""
        now = datetime.now(UTC)
        user: Stored = {
            "id": body.get("id") or self.new_id(),
            "externalId": body.get("externalId"),
            "zendeskId": body.get("zendeskId"),
            "brandId": body.get("brandId"),
            "signedUpAt": _time(now),
            "hasPaymentInfo": False,
            "identities": body.get("identities", []),
            "profile": {},
            "metadata": {},
        }
        return with_changes(
            {name: value for name, value in user.items() if value is not None}, body
        )

    def _answer(self, effect: str, user: Stored, *, status: int = 200) -> Answer:
        self._did(effect)
        return Answer(status, {"user": user})

    def _did(self, effect: str) -> None:
        self.effects[effect] += 1
        self._keep([effect])


def not_found() -> Refusal:
    """Return how an operation says that there is no such user."""
    return Refusal(404, "user_not_found", "User not found")


def with_changes(user: Stored, body: Mapping[str, Any]) -> Stored:
    """Return *user* with the changes that *body* asks for."""
    changed = {**user}
    if "signedUpAt" in body:
        changed["signedUpAt"] = _time(datetime.fromisoformat(body["signedUpAt"]))
    if "toBeRetained" in body:
        changed["toBeRetained"] = body["toBeRetained"]
    changed["profile"] = _set({**user["profile"], **body.get("profile", {})})
    if "metadata" in body:
        metadata = body["metadata"]
        changed["metadata"] = {} if metadata is None else _set({**user["metadata"], **metadata})
        if len(orjson.dumps(changed["metadata"])) > MAX_METADATA_BYTES:
            title = f"metadata is limited to {MAX_METADATA_BYTES} bytes in size"
            raise Refusal(400, "bad_request", title)
    return changed


def _time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _set(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def merged(survivor: Stored, outgoing: Stored) -> Stored:
    """Return *survivor* with what it lacks and *outgoing* has; external ids keep to their brand."""
    union = {
        **survivor,
        "identities": survivor["identities"]
        + [
            identity
            for identity in outgoing["identities"]
            if identity not in survivor["identities"]
        ],
        "profile": {**outgoing["profile"], **survivor["profile"]},
        "metadata": {**outgoing["metadata"], **survivor["metadata"]},
    }
    if "externalId" in outgoing and outgoing.get("brandId") == survivor.get("brandId"):
        union.setdefault("externalId", outgoing["externalId"])
    return union


def _key(identity: Mapping[str, Any]) -> tuple[Any, str]:
    return identity.get("type"), identity.get("value", "").casefold()
