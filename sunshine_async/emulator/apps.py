"""Operations of v2 on apps, keys of an app, and OAuth.

Assumed, where the specification is silent:

- Any id is an app, until the app is deleted; then all operations of the app are a 404. Apps that
  were created, changed or hold anything are listed.
- With ``filter[serviceAccountId]`` no app is listed: the emulator has no service accounts.
- An eleventh key of an app is a 400.
- Any client id, secret and code get a token; a code works once. The token is of the first listed
  app, or of a new app. So are credentials that the emulator didn't issue.
- A token is of a new custom integration with the client id as name, which is ``me``.
- Authorize grants access at once, and sends the browser to any ``redirect_uri``.
- A revoked token is a 401 from then on.
"""

from collections.abc import Callable
from typing import Any, Final
from urllib.parse import quote, urlencode

from attrs import evolve

from sunshine_async.emulator.app_store import AppStore
from sunshine_async.emulator.fields import (
    BOOLEAN,
    DISPLAY_NAME,
    METADATA,
    JsonObject,
    Schema,
    object_schema,
    pick,
    refuse,
    text_schema,
)
from sunshine_async.emulator.integrations import KeyApi
from sunshine_async.emulator.platform import V2, Platform
from sunshine_async.emulator.service import Operation, OperationRequest, Reply
from sunshine_async.emulator.tables import METADATA_LIMIT, Table, merged_metadata, page

REDIRECT: Final = "https://partner.example/callback"
"""The address of the integration's owner, for the answer of Authorize without ``redirect_uri``."""
_LIMIT: Final = f"App {METADATA_LIMIT}."
_URL: Final = ":/?#[]@!$&'()*+,;=%"
_SETTINGS: Final = (
    "maskCreditCardNumbers", "useAnimalNames", "echoPostback", "ignoreAutoConversationStart",
    "multiConvoEnabled", "appLocalizationEnabled", "endSessionEnabled", "disableConversationReopen",
)  # fmt: skip
UPDATE_BODY: Final = object_schema(
    displayName=evolve(DISPLAY_NAME, nullable=False),
    settings=object_schema(
        conversationRetentionSeconds=Schema(type="integer", minimum=0),
        **dict.fromkeys(_SETTINGS, BOOLEAN),
    ),
    metadata=METADATA,
)
CREATE_BODY: Final = evolve(UPDATE_BODY, required=("displayName",))
_TOKEN_FIELDS: Final = ("code", "grant_type", "client_id", "client_secret")
TOKEN_BODY: Final = object_schema(
    *_TOKEN_FIELDS,
    **dict.fromkeys(_TOKEN_FIELDS, text_schema(1)),
).with_fields(grant_type=text_schema(enum=("authorization_code",)))


class AppApi(KeyApi):
    """Apps, keys of an app, and the tokens of OAuth."""

    _owner = ("App", "app", "app")

    def __init__(self, platform: Platform, count: Callable[[str], None]) -> None:
        super().__init__(platform, count)
        self.operations = (
            Operation(V2["CreateApp"], self._create, CREATE_BODY),
            Operation(V2["ListApps"], self._list),
            Operation(V2["GetApp"], self._get),
            Operation(V2["UpdateApp"], self._update, UPDATE_BODY),
            Operation(V2["DeleteApp"], self._delete),
            *self._key_operations(),
            Operation(V2["GetTokenInfo"], self._token_info),
            Operation(V2["Authorize"], self._authorize, is_public=True),
            Operation(V2["GetToken"], self._token, TOKEN_BODY, is_public=True),
            Operation(V2["RevokeAccess"], self._revoke),
        )

    def _create(self, request: OperationRequest) -> Reply:
        metadata = merged_metadata({}, request.body.get("metadata"), _LIMIT)
        app = self._platform.app(self._platform.new_id())
        row = app.describe({"settings": {}, **request.body, "metadata": metadata})
        return self._done("create_app", {"app": row}, status=201)

    def _list(self, request: OperationRequest) -> Reply:
        apps = [] if "filter[serviceAccountId]" in request.query else self._platform.apps()
        rows, envelope = page([app.details for app in apps], request)
        return Reply(200, {"apps": rows, **envelope})

    def _get(self, request: OperationRequest) -> Reply:
        return Reply(200, {"app": _with_subdomain(self._app(request))})

    def _update(self, request: OperationRequest) -> Reply:
        app, body = self._app(request), request.body
        old = app.details
        changes: JsonObject = {**body, "settings": {**old["settings"], **body.get("settings", {})}}
        changes["metadata"] = merged_metadata(old["metadata"], body.get("metadata", {}), _LIMIT)
        return self._done("update_app", {"app": app.describe(changes)})

    def _delete(self, request: OperationRequest) -> Reply:
        self._app(request).delete()
        return self._done("delete_app")

    def _keys(self, request: OperationRequest) -> Table:
        return self._app(request).table("keys")

    def _token_info(self, request: OperationRequest) -> Reply:
        app = self._platform.app_of(request.authorization)
        return Reply(200, {"app": _with_subdomain(self._platform.app(app.id))})

    def _authorize(self, request: OperationRequest) -> Reply:
        query = request.query
        if not query.get("client_id") or query.get("response_type") != "code":
            refuse("should have query parameters client_id and response_type=code")
        answer = {"code": self._platform.new_id(), **pick(query, "state")}
        url = query.get("redirect_uri", REDIRECT)
        separator = "&" if "?" in url else "?"
        return Reply(
            302, {}, {"location": quote(f"{url}{separator}{urlencode(answer)}", safe=_URL)}
        )

    def _token(self, request: OperationRequest) -> Reply:
        tokens, code = self._platform.tokens, request.body["code"]
        if code in {row["code"] for row in tokens.rows.values()}:
            refuse("code was used before")
        token = self._platform.new_secret()
        app, integration_id = self._platform.app_of(""), self._platform.new_id()
        custom = {"id": integration_id, "type": "custom", "status": "active"}
        app.table("integrations").put({**custom, "displayName": request.body["client_id"]})
        tokens.put(
            {
                "id": token, "code": code, "app": app.id, "integration": integration_id,
                "valid": True,
            }
        )  # fmt: skip
        return self._done("token", {"access_token": token, "token_type": "Bearer"})

    def _revoke(self, request: OperationRequest) -> Reply:
        token = self._platform.tokens.rows.get(request.token)
        if token is not None:
            self._platform.tokens.put({**token, "valid": False})
            app = self._platform.app_of(request.authorization)
            if token.get("integration") in app.table("integrations").rows:
                app.remove_integration(token["integration"])
        return self._done("revoke_access")


def _with_subdomain(app: AppStore) -> dict[str, Any]:
    return {**app.details, "subdomain": "emulator"}
