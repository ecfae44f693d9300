"""The one place where bytes leave the process."""
