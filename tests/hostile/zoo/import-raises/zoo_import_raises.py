"""Raises an exception while it is imported."""

raise ValueError("not today")
