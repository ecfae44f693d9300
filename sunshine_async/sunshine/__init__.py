"""Sunshine Conversations API v2: users."""

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
