"""Inventories, version ordering, advisories, matching, safe upgrades. Empty until dependencies are assessed."""
