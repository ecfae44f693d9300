"""API of Sunshine Conversations v2, as in the specification: users, and parts for the rest.

Assumed, where the specification is silent:

- Any app id is an app. Apps share nothing but the Support records.
- An external id is unique within a brand; users without a brand are one more such group. A search
  by external id or e-mail identity finds users of the brand in ``brandId``, or users without a
  brand if ``brandId`` is missing. A search by id finds a user of any brand.
- If an id is one user's id and another user's external id, the id means the first user.
- ``signedUpAt`` is the time of creation by default; times come back in UTC with milliseconds.
- Unknown fields, and fields that only the service sets, are accepted and ignored. So are unknown
  query parameters. The last value of a repeated key counts.
- A null in a profile or in metadata clears that field; null for metadata clears all metadata. The
  4 KB of metadata are 4096 bytes as compact JSON, counted after merging.
- E-mail identities are compared without regard to case.
- A merge keeps the values of the survivor, and adds values that the survivor lacks, a zendeskId
  included. Metadata beyond 4 KB are left out (the specification has the rule, not the choice of
  keys).
- A sync without a Support record finds the user (404 otherwise) in step. Fields that the Support
  record lacks stay, null clears. The e-mail replaces the first e-mail identity. Conflicts are
  conflicts within a brand. If no user has the ``survivingZendeskId``, the user gets that id.
- The personal information of a client is cleared in the devices too.
- Only `Sunshine.add` gives a user a zendeskId; only `Sunshine.add` and syncs give identities.
"""

from collections.abc import Mapping
from functools import partial
from itertools import chain
from typing import Any, ClassVar, Final

from attrs import evolve

from sunshine_async.emulator.app_store import AppStore
from sunshine_async.emulator.apps import AppApi
from sunshine_async.emulator.channels import ChannelApi
from sunshine_async.emulator.conversations import ConversationApi
from sunshine_async.emulator.fields import (
    BOOLEAN,
    METADATA,
    OBJECTS,
    TEXT,
    JsonObject,
    Refusal,
    Schema,
    array_schema,
    object_schema,
    refuse,
    text_schema,
)
from sunshine_async.emulator.integrations import IntegrationApi
from sunshine_async.emulator.messages import MessageApi
from sunshine_async.emulator.platform import Platform, PlatformApi
from sunshine_async.emulator.records import Record, apply_update, not_found
from sunshine_async.emulator.service import Operation, OperationRequest, Reply
from sunshine_async.emulator.switchboards import SwitchboardApi
from sunshine_async.sunshine import users

EMAIL_FILTER: Final = "filter[identities.email]"

_NAMES: Final = {
    **dict.fromkeys(("givenName", "surname"), text_schema(1, 128, nullable=True)),
    "email": text_schema(1, 128, format="email", nullable=True),
}
PROFILE: Final = object_schema(
    **_NAMES,
    avatarUrl=text_schema(1, 2048, format="uri", nullable=True),
    locale=text_schema(1, 64, nullable=True),
)
UPDATE_BODY: Final = object_schema(
    signedUpAt=Schema(type="string", format="time"),
    toBeRetained=BOOLEAN,
    profile=PROFILE,
    metadata=METADATA,
)
_EXTERNAL_ID: Final = text_schema(1, 1024)
CREATE_BODY: Final = UPDATE_BODY.with_fields(
    externalId=_EXTERNAL_ID, brandId=text_schema(1, 24, nullable=True)
)
SYNC_BODY: Final = object_schema(survivingZendeskId=TEXT)
IDENTITY: Final = object_schema(type=TEXT, value=text_schema(1, 128), verification=TEXT)
_ID: Final = text_schema(1)
STORED: Final = CREATE_BODY.with_fields(
    id=_ID,
    zendeskId=_ID,
    identities=array_schema(IDENTITY),
    devices=OBJECTS,
    profile=PROFILE.with_fields(localeOrigin=TEXT),
    **dict.fromkeys(("authenticated", "hasPaymentInfo"), BOOLEAN),
)
SUPPORT: Final = object_schema(
    "zendeskId", zendeskId=_ID, externalId=evolve(_EXTERNAL_ID, nullable=True), **_NAMES
)


class Sunshine(PlatformApi):
    """The API v2 of every app: users here, everything else in parts."""

    prefix = "/v2/"
    effect_names: ClassVar = (
        "create", "update", "delete", "delete_personal_information", "sync", "message",
    )  # fmt: skip
    _envelope = "user"

    def __init__(self, platform: Platform) -> None:
        super().__init__(platform)
        clear_profile = partial(self._clear_profile, "delete_personal_information")
        self.messages: Final = MessageApi(platform, self._count)
        self.operations = (
            Operation(users.CREATE, self._create_user, CREATE_BODY),
            Operation(users.GET, self._get),
            Operation(users.UPDATE, self._update, UPDATE_BODY),
            Operation(users.DELETE, self._delete),
            Operation(users.DELETE_PERSONAL_INFORMATION, clear_profile),
            Operation(users.SYNC, self._sync, SYNC_BODY, needs_body=False),
            Operation(users.LIST, self._list),
            *self.messages.operations,
            *chain.from_iterable(
                part(platform, self._count).operations
                for part in (ConversationApi, SwitchboardApi, IntegrationApi, ChannelApi, AppApi)
            ),
        )

    def clear(self) -> None:
        super().clear()
        self.messages.clear()

    def counts(self) -> JsonObject:
        return {**super().counts(), "messages": self._platform.messages}

    def error_response(self, refusal: Refusal) -> Reply:
        errors = [{"code": refusal.code, "title": title} for title in refusal.titles]
        return Reply(refusal.status, {"errors": errors})

    def _create_user(self, request: OperationRequest) -> Reply:
        return self._create(self._app(request), request.body)

    def _update(self, request: OperationRequest) -> Reply:
        app, record = self._find(request)
        updated = evolve(record, user=apply_update(record.user, request.body))
        return self._put("update", app, updated)

    def _sync(self, request: OperationRequest) -> Reply:
        app = self._app(request)
        record = app.by_zendesk_id.get(request.path["zendesk_id"])
        if record is None:
            raise not_found()
        surviving_id = request.body.get("survivingZendeskId") or record.user["zendeskId"]
        survivor = app.by_zendesk_id.get(surviving_id)
        if survivor is None:
            record = record.with_values(zendeskId=surviving_id)
        elif survivor is not record:
            record = app.merge(survivor, record)
        return self._put("sync", app, self._platform.sync_with_support(app, record))

    def _list(self, request: OperationRequest) -> Reply:
        email = request.query.get(EMAIL_FILTER)
        if not email:
            refuse(f"should have required query parameter {EMAIL_FILTER}")
        found = self._app(request).find_by_email(email, request.query.get("brandId"))
        return Reply(200, {"users": [record.user for record in found]})

    def _find(self, request: OperationRequest) -> tuple[AppStore, Record]:
        app = self._app(request)
        key = request.path["user_id_or_external_id"]
        return app, app.get(key, request.query.get("brandId"))

    def _new_record(self, user: Mapping[str, Any]) -> Record:
        checked = STORED.validate(user)
        return Record(user=self._platform.new_user(checked), devices=checked.get("devices", []))

    def _view(self, record: Record) -> Mapping[str, Any]:
        return record.user
