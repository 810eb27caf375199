"""Vectors made of attributes."""
