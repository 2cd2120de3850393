"""Captures a user's network as one static graph of ATen operators."""
