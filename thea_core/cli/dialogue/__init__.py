"""What ``thea chat`` is made of: what is typed, what is shown, and what becomes of it."""
