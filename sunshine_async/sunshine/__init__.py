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

# fmt: off
__all__ = [
    "Identity", "Profile", "SunshineClient", "SyncUserBody", "User", "UserCreateBody",
    "UserProfile", "UserUpdateBody", "Users",
]
# fmt: on

_NAMES: Final = {
    "client": "SunshineClient",
    "models": "Identity Profile SyncUserBody User UserCreateBody UserProfile UserUpdateBody",
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
