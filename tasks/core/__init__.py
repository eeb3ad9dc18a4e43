"""Words, errors, ports, identity, and the one process runner with its sandbox. Imports nothing of the project."""
