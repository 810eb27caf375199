"""The user-item graph, its propagation and its augmentations."""
