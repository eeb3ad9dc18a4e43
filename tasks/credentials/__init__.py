"""Adapters that read secrets by reference: one file for each store."""
