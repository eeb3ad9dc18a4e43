"""One file for each family of manifests; each ends in a tuple of ``manifest.Format``."""
