"""``thea outbox ...``."""
