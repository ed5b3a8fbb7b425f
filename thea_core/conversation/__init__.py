"""The conversation: contexts, sessions, intents, agents, and the turn."""
