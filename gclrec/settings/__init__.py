"""Settings of a run: flags, TOML keys, ranges, search spaces and named methods."""
