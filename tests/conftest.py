"""What all tests share: the fixtures that users get, and settings for hypothesis."""

from hypothesis import settings

pytest_plugins = ["sunshine_async.testing"]

settings.register_profile("promises", deadline=None, derandomize=True)
settings.load_profile("promises")
