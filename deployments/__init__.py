"""Prefect as code: the nightly deployment and its registration."""
