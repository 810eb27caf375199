"""Recall: embeddings, the nearest-neighbour index and the recommender that serves from it."""
