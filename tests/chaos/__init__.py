"""Kills and injected faults: whatever happens to a run, the tables end as if nothing had. ``python -m tests.chaos``."""
