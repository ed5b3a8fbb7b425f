"""What ``thea replay`` is made of."""
