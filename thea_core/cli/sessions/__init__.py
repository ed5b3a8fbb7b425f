"""``thea sessions ...``."""
