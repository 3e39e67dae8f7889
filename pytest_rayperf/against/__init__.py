"""Comparing with another revision, or other packages, measured now and in turn: `--rayperf-against`."""
