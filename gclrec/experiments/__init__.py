"""Many runs: comparisons, tuning and their statistics."""
