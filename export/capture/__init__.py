"""From a user's network to one static graph of ATen operators."""
