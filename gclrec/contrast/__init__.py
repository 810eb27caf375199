"""Contrast: views, losses, negatives, and the named methods made of them."""
