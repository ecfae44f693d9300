"""The one place where bytes leave the process."""

from typing import Final

__version__: Final = "0.1.0"
