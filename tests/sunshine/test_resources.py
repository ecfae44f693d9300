"""The small resources of Sunshine v2: the request of each method, results, secrets, bad input."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from support.clients import scripted
from support.specification import facts_in

from sunshine_async import NotFoundError, Retry, SunshineClient, TransportError
from sunshine_async._codec.model import Model
from sunshine_async.sunshine import (
    AcceptControlBody,
    ActivityPost,
    Android,
    AppCreateBody,
    AppKeyCreateBody,
    AppSettings,
    AppUpdateBody,
    AttachmentDeleteBody,
    Author,
    ClientCreate,
    ClientTarget,
    Confirmation,
    Custom,
    CustomWebhook,
    IntegrationKeyCreateBody,
    IntegrationUpdate,
    MatchCriteriaTwilio,
    OfferControlBody,
    Page,
    ParticipantJoinBody,
    ParticipantLeaveBody,
    PassControlBody,
    ReleaseControlBody,
    SwitchboardIntegrationCreateBody,
    SwitchboardIntegrationUpdateBody,
    SwitchboardUpdateBody,
    Telegram,
    UnknownIntegration,
    WebhookBody,
    WebhookCreateBody,
    Whatsapp,
)
from sunshine_async.testing import Answer

OPERATIONS = facts_in("sunshine-v2.json")["operations"]


def answer_of(operation: str) -> Answer:
    """Return the example of the operation's answer, or an app for `token_info`, which has none."""
    facts = OPERATIONS[operation]
    examples = facts["examples"].get(str(facts["status"])) or [{"app": {"id": "1"}}]
    return facts["status"], examples[0]


CLIENT = ClientCreate(
    match_criteria=MatchCriteriaTwilio(integration_id="i", phone_number="+49"),
    confirmation=Confirmation(type="immediate"),
    target=ClientTarget(conversation_id="c"),
)
HOOK = WebhookCreateBody(target="https://b.example", triggers=["*"])
SENT_CLIENT = {
    "matchCriteria": {"type": "twilio", "integrationId": "i", "phoneNumber": "+49"},
    "confirmation": {"type": "immediate"},
    "target": {"conversationId": "c"},
}

CALLS: list[tuple[str, Callable[[SunshineClient], Any], str, Any]] = [
    ("JoinConversation", lambda c: c.participants.join("c", ParticipantJoinBody(user_id="u", subscribe_sdk_client=True)), "/conversations/c/join", {"userId": "u", "subscribeSDKClient": True}),
    ("LeaveConversation", lambda c: c.participants.leave("c", ParticipantLeaveBody(participant_id="p")), "/conversations/c/leave", {"participantId": "p"}),
    ("PostActivity", lambda c: c.activities.post("c", ActivityPost(author=Author(type="user", user_id="u"), type="conversation:read")), "/conversations/c/activity", {"author": {"type": "user", "userId": "u"}, "type": "conversation:read"}),
    ("DeleteAttachment", lambda c: c.attachments.delete(AttachmentDeleteBody(media_url="https://x")), "/attachments/remove", {"mediaUrl": "https://x"}),
    ("PassControl", lambda c: c.switchboard_actions.pass_control("c", PassControlBody(switchboard_integration="next", metadata={"a": 1})), "/conversations/c/passControl", {"switchboardIntegration": "next", "metadata": {"a": 1}}),
    ("OfferControl", lambda c: c.switchboard_actions.offer_control("c", OfferControlBody(switchboard_integration="next")), "/conversations/c/offerControl", {"switchboardIntegration": "next"}),
    ("AcceptControl", lambda c: c.switchboard_actions.accept_control("c"), "/conversations/c/acceptControl", {}),
    ("AcceptControl", lambda c: c.switchboard_actions.accept_control("c", AcceptControlBody(metadata=None)), "/conversations/c/acceptControl", {"metadata": None}),
    ("ReleaseControl", lambda c: c.switchboard_actions.release_control("c"), "/conversations/c/releaseControl", {}),
    ("ReleaseControl", lambda c: c.switchboard_actions.release_control("c", ReleaseControlBody(metadata={"a": "b"})), "/conversations/c/releaseControl", {"metadata": {"a": "b"}}),
    ("CreateClient", lambda c: c.clients.create("u", CLIENT, brand_id="b"), "/users/u/clients?brandId=b", SENT_CLIENT),
    ("RemoveClient", lambda c: c.clients.remove("u", "k", brand_id="b"), "/users/u/clients/k?brandId=b", None),
    ("ListDevices", lambda c: c.devices.list("u", brand_id="b"), "/users/u/devices?brandId=b", None),
    ("GetDevice", lambda c: c.devices.get("u", "d"), "/users/u/devices/d", None),
    ("CreateWebhook", lambda c: c.webhooks.create("i", HOOK), "/integrations/i/webhooks", {"target": "https://b.example", "triggers": ["*"]}),
    ("ListWebhooks", lambda c: c.webhooks.list("i"), "/integrations/i/webhooks", None),
    ("GetWebhook", lambda c: c.webhooks.get("i", "w"), "/integrations/i/webhooks/w", None),
    ("UpdateWebhook", lambda c: c.webhooks.update("i", "w", WebhookBody(include_full_user=True)), "/integrations/i/webhooks/w", {"includeFullUser": True}),
    ("DeleteWebhook", lambda c: c.webhooks.delete("i", "w"), "/integrations/i/webhooks/w", None),
    ("CreateIntegration", lambda c: c.integrations.create(Android(display_name="A", show_ai_disclaimer=False)), "/integrations", {"type": "android", "displayName": "A", "showAIDisclaimer": False}),
    ("GetIntegration", lambda c: c.integrations.get("i"), "/integrations/i", None),
    ("UpdateIntegration", lambda c: c.integrations.update("i", IntegrationUpdate(display_name=None, page_access_token="t")), "/integrations/i", {"displayName": None, "pageAccessToken": "t"}),
    ("DeleteIntegration", lambda c: c.integrations.delete("i"), "/integrations/i", None),
    ("CreateCustomIntegrationKey", lambda c: c.integration_keys.create("i", IntegrationKeyCreateBody(display_name="k")), "/integrations/i/keys", {"displayName": "k"}),
    ("ListCustomIntegrationKeys", lambda c: c.integration_keys.list("i"), "/integrations/i/keys", None),
    ("GetCustomIntegrationKey", lambda c: c.integration_keys.get("i", "k"), "/integrations/i/keys/k", None),
    ("DeleteCustomIntegrationKey", lambda c: c.integration_keys.delete("i", "k"), "/integrations/i/keys/k", None),
    ("CreateAppKey", lambda c: c.app_keys.create(AppKeyCreateBody(display_name="k")), "/keys", {"displayName": "k"}),
    ("ListAppKeys", lambda c: c.app_keys.list(), "/keys", None),
    ("GetAppKey", lambda c: c.app_keys.get("k"), "/keys/k", None),
    ("DeleteAppKey", lambda c: c.app_keys.delete("k"), "/keys/k", None),
    ("CreateApp", lambda c: c.apps.create(AppCreateBody(display_name="A", settings=AppSettings(echo_postback=True))), "..", {"displayName": "A", "settings": {"echoPostback": True}}),
    ("GetApp", lambda c: c.apps.get(), "", None),
    ("UpdateApp", lambda c: c.apps.update(AppUpdateBody(metadata={"a": None})), "", {"metadata": {"a": None}}),
    ("DeleteApp", lambda c: c.apps.delete("app"), "", None),
    ("CreateSwitchboard", lambda c: c.switchboards.create(), "/switchboards", None),
    ("ListSwitchboards", lambda c: c.switchboards.list(), "/switchboards", None),
    ("UpdateSwitchboard", lambda c: c.switchboards.update("s", SwitchboardUpdateBody(enabled=False)), "/switchboards/s", {"enabled": False}),
    ("DeleteSwitchboard", lambda c: c.switchboards.delete("s"), "/switchboards/s", None),
    ("CreateSwitchboardIntegration", lambda c: c.switchboard_integrations.create("s", SwitchboardIntegrationCreateBody(name="n", integration_id="i")), "/switchboards/s/switchboardIntegrations", {"name": "n", "integrationId": "i"}),
    ("ListSwitchboardIntegrations", lambda c: c.switchboard_integrations.list("s"), "/switchboards/s/switchboardIntegrations", None),
    ("UpdateSwitchboardIntegration", lambda c: c.switchboard_integrations.update("s", "l", SwitchboardIntegrationUpdateBody(message_history_count=None)), "/switchboards/s/switchboardIntegrations/l", {"messageHistoryCount": None}),
    ("DeleteSwitchboardIntegration", lambda c: c.switchboard_integrations.delete("s", "l"), "/switchboards/s/switchboardIntegrations/l", None),
    ("GetTokenInfo", lambda c: c.token_info(), "/v2/tokenInfo", None),
]  # fmt: skip
"""Operation, call, target below the app's, body."""


@pytest.mark.parametrize(
    ("operation", "call", "target", "body"),
    [pytest.param(*one, id=f"{number} {one[0]}") for number, one in enumerate(CALLS)],
)
async def test_a_method_sends_its_operation(
    operation: str, call: Callable[[SunshineClient], Any], target: str, body: Any
) -> None:
    """A method sends method, target and body of its operation, and returns what was answered."""
    client, transport = scripted(answer_of(operation))

    result = await call(client)

    [request] = transport.requests
    path = {"..": "/v2/apps", "/v2/tokenInfo": target}.get(target, f"/v2/apps/app{target}")
    assert (request.method, request.url.raw_path.decode()) == (
        OPERATIONS[operation]["method"],
        path,
    )
    assert (json.loads(request.content) if request.content else None) == body
    assert (result is None) == ("answer" not in OPERATIONS[operation])


@pytest.mark.parametrize("body", [None, 5, "x", {"type": "custom"}])
async def test_an_integration_that_is_no_body_is_refused(body: Any) -> None:
    """A value of another type is named, with the models that fit, before anything is sent."""
    client, transport = scripted()

    with pytest.raises(TypeError, match=f"not {type(body).__name__}"):
        await client.integrations.create(body)

    assert not transport.requests


@pytest.mark.parametrize(
    ("kind", "ids"),
    [
        (ParticipantJoinBody, {}),
        (ParticipantJoinBody, {"user_id": "u", "user_external_id": "e"}),
        (ParticipantJoinBody, {"user_id": ""}),
        (ParticipantLeaveBody, {}),
        (ParticipantLeaveBody, {"user_external_id": "e", "participant_id": "p"}),
    ],
)
def test_a_participant_has_one_id(kind: type[Model], ids: dict[str, Any]) -> None:
    """Two ids, or none, are a ValueError before anything is sent."""
    with pytest.raises(ValueError, match="exactly one of user_id, user_external_id"):
        kind(**ids)


async def test_a_new_integration_needs_the_fields_of_its_type() -> None:
    """A field that the service needs is named before anything is sent."""
    client, transport = scripted()

    with pytest.raises(ValueError, match="Custom needs webhooks"):
        await client.integrations.create(Custom())
    with pytest.raises(ValueError, match="Telegram needs token"):
        await client.integrations.create(Telegram(display_name="T"))

    assert transport.requests == []


async def test_integrations_are_told_apart_by_type() -> None:
    """Each integration has the class of its type; an unknown type keeps all data."""
    client, _ = scripted(
        (
            200,
            {
                "integrations": [
                    {"id": "1", "type": "whatsapp", "phoneNumber": "+49"},
                    {"id": "2", "type": "custom", "webhooks": [{"target": "t", "triggers": []}]},
                    {"id": "3", "type": "carrier-pigeon", "wings": 2},
                ]
            },
        )
    )

    pages = [page async for page in client.integrations.list(types="whatsapp,custom").pages()]

    unknown = UnknownIntegration(id="3", type="carrier-pigeon", extra={"wings": 2})
    custom = Custom(id="2", webhooks=[CustomWebhook(target="t", triggers=[])])
    assert pages == [Page([Whatsapp(id="1", phone_number="+49"), custom, unknown])]


@pytest.mark.parametrize(
    "value",
    [
        Telegram(token="s3cret"),
        IntegrationUpdate(page_access_token="s3cret", password="s3cret"),
        CustomWebhook(target="t", triggers=[], secret="s3cret"),
        MatchCriteriaTwilio(integration_id="i", phone_number="s3cret"),
        AttachmentDeleteBody(media_url="s3cret"),
    ],
)
def test_no_repr_shows_a_secret(value: Model) -> None:
    """A repr shows neither credentials of a channel nor personal data."""
    assert "s3cret" not in repr(value)


@pytest.mark.parametrize(
    "operation", ["CreateWebhook", "CreateAppKey", "CreateCustomIntegrationKey"]
)
async def test_no_repr_of_an_answer_shows_a_secret(operation: str) -> None:
    """A repr of a webhook or of a key doesn't show the secret that the service gave."""
    status, example = OPERATIONS[operation]["status"], answer_of(operation)
    call = next(call for name, call, *_ in CALLS if name == operation)
    client, _ = scripted(example)

    result = await call(client)

    assert status == 201
    assert result.secret
    assert result.secret not in repr(result)


async def test_only_a_resent_delete_that_finds_nothing_is_done() -> None:
    """A 404 is an error, unless an earlier request with a lost answer may have done the work."""
    client, _ = scripted(404, httpx.ReadTimeout("late"), 404, retry=Retry(first_wait=0))

    with pytest.raises(NotFoundError):
        await client.webhooks.delete("i", "w")
    await client.participants.leave("c", ParticipantLeaveBody(user_id="u"))


async def test_a_page_of_a_gateway_is_no_proof() -> None:
    """After a lost answer the 404 of a gateway, a page of HTML, leaves a delete in doubt."""
    page = httpx.Response(404, html="<title>No such route</title>")
    client, _ = scripted(httpx.ReadTimeout("late"), page, retry=Retry(first_wait=0))

    with pytest.raises(NotFoundError, match="No such route") as caught:
        await client.webhooks.delete("i", "w")
    assert caught.value.maybe_applied


async def test_a_key_is_not_created_twice() -> None:
    """A create with a lost answer isn't sent again: a second key would be a second secret."""
    client, transport = scripted(httpx.ReadTimeout("late"), retry=Retry(first_wait=0))

    with pytest.raises(TransportError) as caught:
        await client.app_keys.create(AppKeyCreateBody(display_name="k"))

    assert caught.value.maybe_applied
    assert len(transport.requests) == 1
