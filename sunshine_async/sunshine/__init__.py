"""Client of Sunshine Conversations, API v2: users, conversations, messages.

A message to each conversation of a user, with the settings of the environment (``SUNSHINE_APP_ID``,
``SUNSHINE_KEY_ID``, ``SUNSHINE_KEY_SECRET``, ``SUNSHINE_SUBDOMAIN``)::

    import asyncio

    from sunshine_async import SunshineClient


    async def main() -> None:
        async with SunshineClient() as client:
            async for conversation in client.conversations.list(user_external_id="jane-1"):
                sent = await client.messages.send_text(conversation.id, "Hi", once="greeting")
                print(sent[0].id, "is in", conversation.id)


    asyncio.run(main())

`SunshineClient` holds the settings, the connections and the pace of one app. ``client.users`` is
`Users`, ``client.messages`` is `Messages`: an attribute for each resource, with a method for each
operation, for compositions such as ``upsert``, and for many bodies through `sunshine_async.bulk`,
with an outcome for each. Arguments are bodies such as `UserCreateBody`, results are answers such
as `User`; all models are immutable.

A resource's module is imported at the first use of the resource or of a model, so that a program
loads only the resources in use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from sunshine_async._calls.pages import Listing, Page
    from sunshine_async.sunshine.activities import Activities, ActivityPost
    from sunshine_async.sunshine.app_keys import AppKey, AppKeyCreateBody, AppKeys
    from sunshine_async.sunshine.apps import App, AppCreateBody, Apps, AppSettings, AppUpdateBody
    from sunshine_async.sunshine.attachments import (
        Attachment,
        AttachmentDeleteBody,
        Attachments,
        AttachmentSource,
    )
    from sunshine_async.sunshine.client import SunshineClient
    from sunshine_async.sunshine.clients import (
        Client,
        ClientCreate,
        Clients,
        ClientTarget,
        Confirmation,
        MatchCriteria,
        MatchCriteriaMailgun,
        MatchCriteriaMessagebird,
        MatchCriteriaTwilio,
        MatchCriteriaWhatsapp,
        UnknownMatchCriteria,
    )
    from sunshine_async.sunshine.contents import (
        Action,
        ActionSubset,
        Buy,
        CarouselMessage,
        Content,
        Coordinates,
        DisplaySettings,
        ExtraChannelOptions,
        FileMessage,
        FormMessage,
        FormMessageField,
        FormOption,
        FormResponseMessage,
        FormResponseMessageField,
        ImageMessage,
        Item,
        Link,
        ListMessage,
        Location,
        LocationMessage,
        LocationRequest,
        MessengerChannelOptions,
        Postback,
        Reply,
        TemplateMessage,
        TextMessage,
        UnknownAction,
        UnknownContent,
        Webview,
    )
    from sunshine_async.sunshine.conversation_models import (
        AppleMessageRef,
        Conversation,
        ConversationCreateBody,
        ConversationTruncated,
        ConversationUpdateBody,
        ConversionEvents,
        ConversionEventsBody,
        DownloadMessageRefBody,
        InteractiveDataRef,
        MetaConversionEvent,
        SwitchboardIntegrationWebhook,
    )
    from sunshine_async.sunshine.conversations import Conversations
    from sunshine_async.sunshine.devices import Device, Devices
    from sunshine_async.sunshine.integration_keys import (
        ApiKey,
        IntegrationKeyCreateBody,
        IntegrationKeys,
    )
    from sunshine_async.sunshine.integration_models import (
        Android,
        AnyIntegration,
        Apple,
        Custom,
        CustomWebhook,
        DefaultResponder,
        Instagram,
        Integration,
        Ios,
        Line,
        Mailgun,
        Messagebird,
        Messenger,
        PrechatCapture,
        Telegram,
        Twilio,
        Twitter,
        Unity,
        UnknownIntegration,
        Viber,
        Web,
        Whatsapp,
    )
    from sunshine_async.sunshine.integrations import Integrations, IntegrationUpdate
    from sunshine_async.sunshine.message_models import (
        ActivityMessage,
        AppleMessageOverridePayload,
        Author,
        Destination,
        EndedByUser,
        Message,
        MessageOverride,
        MessageOverridePayload,
        MessagePost,
        QuotedMessage,
        QuotedMessageExternalMessageId,
        QuotedMessageMessage,
        Reference,
        Source,
        TicketClosed,
        TransferToEmail,
        UnknownActivityMessage,
        UnknownQuotedMessage,
    )
    from sunshine_async.sunshine.messages import Messages
    from sunshine_async.sunshine.models import (
        Identity,
        Profile,
        SyncUserBody,
        User,
        UserCreateBody,
        UserProfile,
        UserUpdateBody,
    )
    from sunshine_async.sunshine.oauth import AccessToken, GetTokenBody, OAuthClient
    from sunshine_async.sunshine.pages import Links, Meta
    from sunshine_async.sunshine.participants import (
        ClientAssociation,
        Participant,
        ParticipantJoinBody,
        ParticipantLeaveBody,
        Participants,
    )
    from sunshine_async.sunshine.switchboard_actions import (
        AcceptControlBody,
        OfferControlBody,
        PassControlBody,
        ReleaseControlBody,
        SwitchboardActions,
    )
    from sunshine_async.sunshine.switchboard_integrations import (
        SwitchboardIntegration,
        SwitchboardIntegrationCreateBody,
        SwitchboardIntegrations,
        SwitchboardIntegrationUpdateBody,
    )
    from sunshine_async.sunshine.switchboards import (
        Switchboard,
        Switchboards,
        SwitchboardUpdateBody,
    )
    from sunshine_async.sunshine.users import Users
    from sunshine_async.sunshine.webhooks import Webhook, WebhookBody, WebhookCreateBody, Webhooks
else:  # a checker, shown this function, would take a misspelt name for a name of any type

    def __getattr__(name: str) -> Any:
        if name not in _MODULE_OF:
            message = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(message)
        module = import_module(f"{__name__}.{_MODULE_OF[name]}")
        value = globals()[name] = getattr(module, name)
        return value


# fmt: off
__all__ = [
    "AcceptControlBody", "AccessToken", "Action", "ActionSubset", "Activities",
    "ActivityMessage", "ActivityPost", "Android", "AnyIntegration", "ApiKey", "App",
    "AppCreateBody", "AppKey", "AppKeyCreateBody", "AppKeys", "AppSettings", "AppUpdateBody",
    "Apple", "AppleMessageOverridePayload", "AppleMessageRef", "Apps", "Attachment",
    "AttachmentDeleteBody", "AttachmentSource", "Attachments", "Author", "Buy",
    "CarouselMessage", "Client", "ClientAssociation", "ClientCreate", "ClientTarget",
    "Clients", "Confirmation", "Content", "Conversation", "ConversationCreateBody",
    "ConversationTruncated", "ConversationUpdateBody",
    "Conversations", "ConversionEvents", "ConversionEventsBody", "Coordinates", "Custom",
    "CustomWebhook", "DefaultResponder", "Destination", "Device", "Devices",
    "DisplaySettings", "DownloadMessageRefBody", "EndedByUser", "ExtraChannelOptions",
    "FileMessage", "FormMessage", "FormMessageField", "FormOption", "FormResponseMessage",
    "FormResponseMessageField", "GetTokenBody", "Identity", "ImageMessage", "Instagram",
    "Integration", "IntegrationKeyCreateBody", "IntegrationKeys", "IntegrationUpdate",
    "Integrations", "InteractiveDataRef", "Ios", "Item", "Line", "Link", "Links",
    "ListMessage", "Listing", "Location", "LocationMessage", "LocationRequest", "Mailgun",
    "MatchCriteria", "MatchCriteriaMailgun", "MatchCriteriaMessagebird",
    "MatchCriteriaTwilio", "MatchCriteriaWhatsapp", "Message",
    "MessageOverride", "MessageOverridePayload", "MessagePost", "Messagebird", "Messages",
    "Messenger", "MessengerChannelOptions", "Meta", "MetaConversionEvent", "OAuthClient",
    "OfferControlBody", "Page", "Participant", "ParticipantJoinBody", "ParticipantLeaveBody",
    "Participants", "PassControlBody", "Postback", "PrechatCapture", "Profile",
    "QuotedMessage", "QuotedMessageExternalMessageId", "QuotedMessageMessage", "Reference",
    "ReleaseControlBody", "Reply", "Source", "SunshineClient", "Switchboard",
    "SwitchboardActions", "SwitchboardIntegration", "SwitchboardIntegrationCreateBody",
    "SwitchboardIntegrationUpdateBody", "SwitchboardIntegrationWebhook",
    "SwitchboardIntegrations", "SwitchboardUpdateBody", "Switchboards", "SyncUserBody",
    "Telegram", "TemplateMessage", "TextMessage", "TicketClosed", "TransferToEmail", "Twilio",
    "Twitter", "Unity", "UnknownAction", "UnknownActivityMessage", "UnknownContent",
    "UnknownIntegration", "UnknownMatchCriteria", "UnknownQuotedMessage", "User",
    "UserCreateBody", "UserProfile", "UserUpdateBody", "Users", "Viber", "Web", "Webhook",
    "WebhookBody", "WebhookCreateBody", "Webhooks", "Webview", "Whatsapp",
]
# fmt: on

_NAMES: Final = {
    "activities": "Activities ActivityPost",
    "app_keys": "AppKey AppKeyCreateBody AppKeys",
    "apps": "App AppCreateBody AppSettings AppUpdateBody Apps",
    "attachments": "Attachment AttachmentDeleteBody AttachmentSource Attachments",
    "client": "SunshineClient",
    "clients": (
        "Client ClientCreate ClientTarget Clients Confirmation MatchCriteria "
        "MatchCriteriaMailgun MatchCriteriaMessagebird MatchCriteriaTwilio "
        "MatchCriteriaWhatsapp UnknownMatchCriteria"
    ),
    "contents": (
        "Action ActionSubset Buy CarouselMessage Content Coordinates DisplaySettings "
        "ExtraChannelOptions FileMessage FormMessage FormMessageField FormOption "
        "FormResponseMessage FormResponseMessageField ImageMessage Item Link ListMessage "
        "Location LocationMessage LocationRequest MessengerChannelOptions Postback Reply "
        "TemplateMessage TextMessage UnknownAction UnknownContent Webview"
    ),
    "conversation_models": (
        "AppleMessageRef Conversation ConversationCreateBody "
        "ConversationTruncated ConversationUpdateBody ConversionEvents ConversionEventsBody "
        "DownloadMessageRefBody InteractiveDataRef MetaConversionEvent "
        "SwitchboardIntegrationWebhook"
    ),
    "conversations": "Conversations",
    "devices": "Device Devices",
    "integration_keys": "ApiKey IntegrationKeyCreateBody IntegrationKeys",
    "integration_models": (
        "Android AnyIntegration Apple Custom CustomWebhook DefaultResponder Instagram "
        "Integration Ios Line Mailgun Messagebird Messenger PrechatCapture Telegram Twilio "
        "Twitter Unity UnknownIntegration Viber Web Whatsapp"
    ),
    "integrations": "IntegrationUpdate Integrations",
    "message_models": (
        "ActivityMessage AppleMessageOverridePayload Author Destination EndedByUser Message "
        "MessageOverride MessageOverridePayload MessagePost QuotedMessage "
        "QuotedMessageExternalMessageId QuotedMessageMessage Reference Source TicketClosed "
        "TransferToEmail UnknownActivityMessage UnknownQuotedMessage"
    ),
    "messages": "Messages",
    "models": "Identity Profile SyncUserBody User UserCreateBody UserProfile UserUpdateBody",
    "oauth": "AccessToken GetTokenBody OAuthClient",
    "pages": "Links Listing Meta Page",
    "participants": (
        "ClientAssociation Participant ParticipantJoinBody ParticipantLeaveBody Participants"
    ),
    "switchboard_actions": (
        "AcceptControlBody OfferControlBody PassControlBody ReleaseControlBody SwitchboardActions"
    ),
    "switchboard_integrations": (
        "SwitchboardIntegration SwitchboardIntegrationCreateBody "
        "SwitchboardIntegrationUpdateBody SwitchboardIntegrations"
    ),
    "switchboards": "Switchboard SwitchboardUpdateBody Switchboards",
    "users": "Users",
    "webhooks": "Webhook WebhookBody WebhookCreateBody Webhooks",
}
"""The public names by module, imported at first use: a program loads only the resources in use."""

_MODULE_OF: Final = {name: module for module, names in _NAMES.items() for name in names.split()}


def __dir__() -> list[str]:
    return __all__
