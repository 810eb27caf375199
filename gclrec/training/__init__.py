"""Training: settings, batches, the objective, the loop, checkpoints and the run folder."""
