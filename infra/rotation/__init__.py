"""A real OpenBao and a real PostgreSQL on this machine, with a secret in them that Nightwarden rotates.

``python -m infra.rotation up`` starts both, ``client`` logs in without an end, ``down`` ends both; ``infra/README.md``.
"""
