"""Advisories: fetched, checked, kept as whole snapshots, and compared with each other."""
