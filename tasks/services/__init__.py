"""Remote scanner services, one file each. Empty until the first service."""
