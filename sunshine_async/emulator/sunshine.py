"""Sunshine Conversations v2 users, as the specification has them.

Assumed, where the specification leaves something open:

- Any app id is an app, and apps have nothing in common but the Support records.
- An external id is taken within its brand (users without a brand are one more such group). By
  external id or e-mail identity a request finds users of the brand that it names in ``brandId``, or
  of none where it names none. By id it finds a user whatever the brand.
- An id that is one user's id and another's external id means the first.
- ``signedUpAt`` is the time of creation unless given; times come back in UTC with milliseconds.
- Fields that the schema doesn't have, and those that only the service sets, are accepted and
  ignored. So are unknown query parameters. Of a repeated key the last one counts.
- A null in a profile or in metadata clears that field; null for metadata clears all of it. The
  4 KB of metadata are 4096 bytes as compact JSON, counted after merging.
- E-mail identities are compared without regard to case.
- A merge keeps what the survivor has, and adds what the survivor lacks; a zendeskId too. Metadata
  that would pass the 4 KB are left out (the specification has the rule, not the choice of keys).
- A sync without a Support record finds the user (404 otherwise) in step. Fields that the Support
  record lacks stay, null clears. The e-mail takes the place of the first e-mail identity. Conflicts
  are those within a brand. Where nobody has the ``survivingZendeskId``, the user gets it.
- Only `Sunshine.add` gives a user a zendeskId; only `Sunshine.add` and syncs give identities.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from attrs import evolve

from sunshine_async.emulator.fields import Field, Refusal
from sunshine_async.emulator.platform import App, Platform, Record, not_found, with_changes
from sunshine_async.emulator.service import Answer, Asked, Change, Operation
from sunshine_async.sunshine import users

EMAIL_FILTER: Final = "filter[identities.email]"

_NAMES: Final = {
    "givenName": Field(type="string", min_length=1, max_length=128, nullable=True),
    "surname": Field(type="string", min_length=1, max_length=128, nullable=True),
    "email": Field(type="string", format="email", min_length=1, max_length=128, nullable=True),
}
PROFILE: Final = Field(
    type="object",
    fields={
        **_NAMES,
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
SUPPORT: Final = Field(
    type="object",
    fields={
        "zendeskId": Field(type="string", min_length=1),
        "externalId": Field(type="string", min_length=1, max_length=1024, nullable=True),
        **_NAMES,
    },
    required=("zendeskId",),
)
EFFECTS: Final = ("create", "update", "delete", "delete_personal_information", "sync")


class Sunshine:
    """The v2 API for the users of every app."""

    def __init__(self, platform: Platform) -> None:
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
        self._platform: Final = platform
        self._keep: Callable[[Change], None] = lambda _: None
        self.effects: Counter[str] = Counter()
        self.clear()

    def __len__(self) -> int:
        return len(self._platform)

    def users(self, app_id: str | None = None) -> Iterator[Mapping[str, Any]]:
        return (record.user for record in self._platform.records(app_id))

    def add(self, user: Mapping[str, Any], *, app_id: str) -> Mapping[str, Any]:
        """Store *user*, given as on the wire, and return it as stored. It is no effect.

        It may have what only the service sets: ``id``, ``zendeskId``, ``identities``. Raise
        `ValueError` for what a user can't be, and where one of its ids is taken.
        """
        try:
            stored = self._platform.made(STORED.checked(user))
        except Refusal as refusal:
            raise ValueError(str(refusal)) from None
        self._platform.add(Record(user=stored), app_id=app_id)
        return stored

    def path(self, values: Mapping[str, str]) -> Mapping[str, str]:
        return values

    def problem(self, refusal: Refusal) -> Answer:
        errors = [{"code": refusal.code, "title": title} for title in refusal.titles]
        return Answer(refusal.status, {"errors": errors})

    def restore(self, change: Change) -> None:
        """Count an effect that was kept."""
        self.effects[change[0]] += 1

    def keep(self, write: Callable[[Change], None]) -> None:
        """Hand every effect to *write* from now on."""
        self._keep = write

    def clear(self) -> None:
        self.effects = Counter(dict.fromkeys(EFFECTS, 0))

    def _create(self, asked: Asked) -> Answer:
        app = self._platform.app(asked.path["app_id"])
        if "externalId" in asked.body and app.with_external_id_of(asked.body):
            raise Refusal(409, "conflict", "User already exists")
        record = Record(user=self._platform.made(asked.body))
        app.put(record)
        return self._answer("create", record, status=201)

    def _get(self, asked: Asked) -> Answer:
        _, record = self._found(asked)
        return Answer(200, {"user": record.user})

    def _update(self, asked: Asked) -> Answer:
        app, record = self._found(asked)
        updated = evolve(record, user=with_changes(record.user, asked.body))
        app.put(updated)
        return self._answer("update", updated)

    def _delete(self, asked: Asked) -> Answer:
        app, record = self._found(asked)
        app.drop(record)
        self._did("delete")
        return Answer(200, {})

    def _delete_personal_information(self, asked: Asked) -> Answer:
        app, record = self._found(asked)
        cleared = record.without_personal_information()
        app.put(cleared)
        return self._answer("delete_personal_information", cleared)

    def _sync(self, asked: Asked) -> Answer:
        app = self._platform.app(asked.path["app_id"])
        record = app.by_zendesk_id.get(asked.path["zendesk_id"])
        if record is None:
            raise not_found()
        surviving_id = asked.body.get("survivingZendeskId") or record.user["zendeskId"]
        survivor = app.by_zendesk_id.get(surviving_id)
        if survivor is None:
            record = record.changed(zendeskId=surviving_id)
        elif survivor is not record:
            record = app.merge(survivor, record)
        return self._answer("sync", self._platform.align(app, record))

    def _list(self, asked: Asked) -> Answer:
        email = asked.query.get(EMAIL_FILTER)
        if not email:
            raise Refusal(
                400, "bad_request", f"should have required query parameter {EMAIL_FILTER}"
            )
        app = self._platform.app(asked.path["app_id"])
        found = app.with_email(email, asked.query.get("brandId"))
        return Answer(200, {"users": [record.user for record in found]})

    def _found(self, asked: Asked) -> tuple[App, Record]:
        app = self._platform.app(asked.path["app_id"])
        key = asked.path["user_id_or_external_id"]
        return app, app.found(key, asked.query.get("brandId"))

    def _answer(self, effect: str, record: Record, *, status: int = 200) -> Answer:
        self._did(effect)
        return Answer(status, {"user": record.user})

    def _did(self, effect: str) -> None:
        self.effects[effect] += 1
        self._keep([effect])
