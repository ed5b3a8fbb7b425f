"""The verbs of ``thea plugins``. None of them imports a plugin into this process, but for ``order``."""
