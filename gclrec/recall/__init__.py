"""Recall: from the embeddings of a run to an index that answers top-k queries by the user's own ids."""
