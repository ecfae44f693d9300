"""The client of Smooch v1.1."""

from typing import ClassVar

from sunshine_async._calls.client import AppClient
from sunshine_async._calls.transport import Transport
from sunshine_async.smooch.app_users import GET, AppUsers


class SmoochClient(AppClient):
    """Calls Smooch v1.1 for one app.

    *app_id*, *auth* and *base_url* come from ``SMOOCH_APP_ID``, ``SMOOCH_KEY_ID`` with
    ``SMOOCH_KEY_SECRET``, and ``SMOOCH_BASE_URL`` where they are left out. All else is as in
    `SunshineClient`: it is one platform, with the same addresses and the same keys.

    Raise `ConfigurationError`, naming argument and variable, for what is missing or can't work.
    """

    prefix: ClassVar = "SMOOCH"
    probe: ClassVar = (GET, {"user_id": "is-the-service-back"})

    app_users: AppUsers

    def _bind(self, transport: Transport) -> None:
        super()._bind(transport)
        self.app_users = AppUsers(transport)
