"""Contrast: views, losses, negatives, and the named methods made of them."""

from gclrec.contrast.hardness import hardness_curve

__all__ = ["hardness_curve"]
