"""Client of Smooch, API v1.1: the app users of an app.

A user is created or updated, and read by the caller's key, with the settings of the environment
(``SMOOCH_APP_ID``, ``SMOOCH_KEY_ID``, ``SMOOCH_KEY_SECRET``, ``SMOOCH_SUBDOMAIN``)::

    import asyncio

    from sunshine_async import SmoochClient
    from sunshine_async.smooch import AppUserPreCreate


    async def main() -> None:
        async with SmoochClient() as client:
            await client.app_users.upsert(AppUserPreCreate(user_id="june-2", given_name="June"))
            user = await client.app_users.get("june-2")
            print(user.id, user.given_name)


    asyncio.run(main())

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
