"""Inventories, version ordering, advisories, matching, safe upgrades."""
