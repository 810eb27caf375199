"""Readers of files and folders of interactions and attributes."""
