"""The version, in one place: the package's metadata and the ``User-Agent`` read it here."""

from typing import Final

__version__: Final = "0.1.0"
