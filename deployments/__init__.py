"""Prefect as code: the deployments and their registration."""
