"""Client of Sunshine Conversations, API v2: users, conversations, messages.

`SunshineClient` holds the settings, the connections and the pace of one app. ``client.users`` is
`Users`, ``client.messages`` is `Messages`: one attribute for each resource, with a method for each
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
    from sunshine_async.sunshine.client import SunshineClient
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
        ConversationListResponse,
        ConversationTruncated,
        ConversationUpdateBody,
        ConversionEvents,
        ConversionEventsBody,
        DownloadMessageRefBody,
        InteractiveDataRef,
        MetaConversionEvent,
        ParticipantJoinBody,
        SwitchboardIntegrationWebhook,
    )
    from sunshine_async.sunshine.message_models import (
        ActivityMessage,
        AppleMessageOverridePayload,
        Author,
        Destination,
        EndedByUser,
        Message,
        MessageListResponse,
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
    from sunshine_async.sunshine.models import (
        Identity,
        Profile,
        SyncUserBody,
        User,
        UserCreateBody,
        UserProfile,
        UserUpdateBody,
    )
    from sunshine_async.sunshine.pages import Links, Meta
    from sunshine_async.sunshine.users import Users

# fmt: off
__all__ = [
    "Action", "ActionSubset", "ActivityMessage", "AppleMessageOverridePayload",
    "AppleMessageRef", "Author", "Buy", "CarouselMessage", "Content", "Conversation",
    "ConversationCreateBody", "ConversationListResponse", "ConversationTruncated",
    "ConversationUpdateBody", "ConversionEvents", "ConversionEventsBody", "Coordinates",
    "Destination", "DisplaySettings", "DownloadMessageRefBody", "EndedByUser",
    "ExtraChannelOptions", "FileMessage", "FormMessage", "FormMessageField", "FormOption",
    "FormResponseMessage", "FormResponseMessageField", "Identity", "ImageMessage",
    "InteractiveDataRef", "Item", "Link", "Links", "ListMessage", "Listing", "Location",
    "LocationMessage", "LocationRequest", "Message", "MessageListResponse", "MessageOverride",
    "MessageOverridePayload", "MessagePost", "MessengerChannelOptions", "Meta",
    "MetaConversionEvent", "Page", "ParticipantJoinBody", "Postback", "Profile",
    "QuotedMessage", "QuotedMessageExternalMessageId", "QuotedMessageMessage", "Reference",
    "Reply", "Source", "SunshineClient", "SwitchboardIntegrationWebhook", "SyncUserBody",
    "TemplateMessage", "TextMessage", "TicketClosed", "TransferToEmail", "UnknownAction",
    "UnknownActivityMessage", "UnknownContent", "UnknownQuotedMessage", "User",
    "UserCreateBody", "UserProfile", "UserUpdateBody", "Users", "Webview",
]
# fmt: on

_NAMES: Final = {
    "client": "SunshineClient",
    "contents": (
        "Action ActionSubset Buy CarouselMessage Content Coordinates DisplaySettings "
        "ExtraChannelOptions FileMessage FormMessage FormMessageField FormOption "
        "FormResponseMessage FormResponseMessageField ImageMessage Item Link ListMessage "
        "Location LocationMessage LocationRequest MessengerChannelOptions Postback Reply "
        "TemplateMessage TextMessage UnknownAction UnknownContent Webview"
    ),
    "conversation_models": (
        "AppleMessageRef Conversation ConversationCreateBody ConversationListResponse "
        "ConversationTruncated ConversationUpdateBody ConversionEvents ConversionEventsBody "
        "DownloadMessageRefBody InteractiveDataRef MetaConversionEvent ParticipantJoinBody "
        "SwitchboardIntegrationWebhook"
    ),
    "message_models": (
        "ActivityMessage AppleMessageOverridePayload Author Destination EndedByUser Message "
        "MessageListResponse MessageOverride MessageOverridePayload MessagePost QuotedMessage "
        "QuotedMessageExternalMessageId QuotedMessageMessage Reference Source TicketClosed "
        "TransferToEmail UnknownActivityMessage UnknownQuotedMessage"
    ),
    "models": "Identity Profile SyncUserBody User UserCreateBody UserProfile UserUpdateBody",
    "pages": "Links Listing Meta Page",
    "users": "Users",
}
"""The public names by module, imported at first use: a program loads only the resources in use."""

_MODULE_OF: Final = {name: module for module, names in _NAMES.items() for name in names.split()}

if not TYPE_CHECKING:  # for a checker, a misspelt name would be of any type

    def __getattr__(name: str) -> Any:
        if name not in _MODULE_OF:
            message = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(message)
        module = import_module(f"{__name__}.{_MODULE_OF[name]}")
        value = globals()[name] = getattr(module, name)
        return value


def __dir__() -> list[str]:
    return __all__
