"""What ``thea run`` is made of: reading messages, giving them ids, writing what came of them, and stopping."""
