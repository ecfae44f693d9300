"""Client of Sunshine Conversations, API v2: the users of an app.

`SunshineClient` holds the settings, the connections and the pace of one app. The attribute
``users`` is a `Users`, with a method for each operation: create, read, update, delete, sync, list.
Bodies (`UserCreateBody`, `UserUpdateBody`, `SyncUserBody`, `Profile`) are the arguments of methods.
Answers (`User`, `UserProfile`, `Identity`) are the results. All models are immutable.
``upsert`` and ``get_or_create`` combine operations. ``create_many`` and similar methods send many
bodies through `sunshine_async.bulk`, with an outcome for each body.
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
