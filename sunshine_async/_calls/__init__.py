"""One call: encoded, sent, tried again, and read."""
