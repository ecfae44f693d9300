"""Client of Smooch, API v1.1: the app users of an app.

`SmoochClient` holds the settings, the connections and the pace of one app. ``client.app_users`` is
`AppUsers`, with a method for each operation, for compositions such as ``upsert``, and for many
bodies through `sunshine_async.bulk`, with an outcome for each. Arguments are bodies such as
`AppUserPreCreate`, results are answers such as `AppUser`; all models are immutable.
"""

from sunshine_async.smooch.app_users import AppUsers
from sunshine_async.smooch.client import SmoochClient
from sunshine_async.smooch.links import (
    AppUserChannelsResponse,
    AppUserLink,
    ChannelEntityItem,
    Confirmation,
    ConfirmationAction,
    ConfirmationMessage,
    LinkRequest,
    LinkRequestResponse,
)
from sunshine_async.smooch.messages import (
    Action,
    Conversation,
    Coordinates,
    DisplaySettings,
    Field,
    ImageSource,
    Location,
    Message,
    MessageItem,
    MessageResponse,
    Option,
    QuotedMessage,
    Select,
    Source,
)
from sunshine_async.smooch.models import (
    AppUser,
    AppUserBusinessSystemsResponse,
    AppUserMerge,
    AppUserPreCreate,
    AppUserUpdate,
    BusinessSystemItem,
    Client,
    ClientInfo,
    MergedUser,
)

__all__ = [
    "Action",
    "AppUser",
    "AppUserBusinessSystemsResponse",
    "AppUserChannelsResponse",
    "AppUserLink",
    "AppUserMerge",
    "AppUserPreCreate",
    "AppUserUpdate",
    "AppUsers",
    "BusinessSystemItem",
    "ChannelEntityItem",
    "Client",
    "ClientInfo",
    "Confirmation",
    "ConfirmationAction",
    "ConfirmationMessage",
    "Conversation",
    "Coordinates",
    "DisplaySettings",
    "Field",
    "ImageSource",
    "LinkRequest",
    "LinkRequestResponse",
    "Location",
    "MergedUser",
    "Message",
    "MessageItem",
    "MessageResponse",
    "Option",
    "QuotedMessage",
    "Select",
    "SmoochClient",
    "Source",
]
