"""What a user's checker sees of the small resources. Never run: mypy and pyright read it.

A line with an ignore is one that has to be reported, as in ``api.py``.
"""

# pyright: reportUnnecessaryTypeIgnoreComment=true
# mypy: warn-unused-ignores

from typing import assert_never, assert_type

from sunshine_async import SunshineClient
from sunshine_async.sunshine import (
    Android,
    AnyIntegration,
    ApiKey,
    App,
    Apple,
    Attachment,
    Client,
    Custom,
    CustomWebhook,
    Instagram,
    Ios,
    Line,
    Listing,
    Mailgun,
    Messagebird,
    Messenger,
    Page,
    Participant,
    ParticipantJoinBody,
    Telegram,
    Twilio,
    Twitter,
    Unity,
    UnknownIntegration,
    Viber,
    Web,
    Webhook,
    WebhookCreateBody,
    Whatsapp,
)


def kinds(integration: AnyIntegration) -> str | None:
    """Match each type of integration, with the exact types of its fields."""
    match integration:
        case Custom(webhooks=webhooks):
            assert_type(webhooks, list[CustomWebhook] | None)
        case Whatsapp(phone_number=number):
            assert_type(number, str | None)
        case Messenger(page_id=number):
            assert_type(number, float | None)
        case Android() | Ios() | Unity() | Web():
            assert_type(integration.can_user_see_conversation_list, bool | None)
        case Apple() | Instagram() | Line() | Mailgun() | Messagebird() | Telegram():
            assert_type(integration.default_responder_id, str | None)
        case Twilio() | Twitter() | Viber():
            assert_type(integration.type, str)
        case UnknownIntegration(type=kind):
            assert_type(kind, str | None)
        case _:
            assert_never(integration)
    return integration.display_name


async def results(client: SunshineClient) -> None:
    """Each method has the exact type of its result."""
    join = ParticipantJoinBody(user_id="u")
    assert_type(await client.participants.join("c", join), Participant)
    assert_type(client.participants.list("c", after="1"), Listing[Participant])
    async for page in client.clients.list("u").pages():
        assert_type(page, Page[Client])
    async for integration in client.integrations.list():
        assert_type(integration, AnyIntegration)
    assert_type(await client.attachments.upload(b"x", access="public"), Attachment)
    assert_type(await client.webhooks.ensure("i", "https://b.example", ["*"]), Webhook)
    assert_type(await client.integration_keys.list("i"), list[ApiKey])
    assert_type(await client.token_info(), App)
    async with client.activities.typing("c") as nothing:
        assert_type(nothing, None)


async def mistakes(client: SunshineClient) -> None:
    """Each of the mistakes that are easily made is reported."""
    WebhookCreateBody(target="https://b.example")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await client.attachments.upload(5, access="public")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await client.request("PUT", "/v2/x", content=b"x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
