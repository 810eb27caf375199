"""Two towers over ids, attributes and histories."""
