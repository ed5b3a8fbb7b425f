"""The verbs of ``thea config``."""
