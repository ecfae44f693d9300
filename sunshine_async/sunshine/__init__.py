"""Client of Sunshine Conversations, API v2: the users of an app.

`SunshineClient` holds the settings, the connections and the pace of one app. ``client.users`` is
`Users`, with a method for each operation, for compositions such as ``upsert``, and for many bodies
through `sunshine_async.bulk`, with an outcome for each. Arguments are bodies such as
`UserCreateBody`, results are answers such as `User`; all models are immutable.
"""

from sunshine_async.sunshine.client import SunshineClient
from sunshine_async.sunshine.models import (
    Identity,
    Profile,
    SyncUserBody,
    User,
    UserCreateBody,
    UserProfile,
    UserUpdateBody,
)
from sunshine_async.sunshine.users import Users

__all__ = [
    "Identity",
    "Profile",
    "SunshineClient",
    "SyncUserBody",
    "User",
    "UserCreateBody",
    "UserProfile",
    "UserUpdateBody",
    "Users",
]
