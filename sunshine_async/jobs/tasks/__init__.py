"""Rows as calls: one table of modes a service."""
