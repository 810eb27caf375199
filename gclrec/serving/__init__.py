"""Serving: recommendations of a run over HTTP, with feedback, new items and exact explanations."""
