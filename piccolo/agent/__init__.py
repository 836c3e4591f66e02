"""What only a node does."""
