"""The life of one instance on its node: a pure machine; it looks, and says what to do."""
