"""The run folder: its only readers and writers."""
