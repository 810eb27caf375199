"""Negatives: what a user is not drawn to."""
