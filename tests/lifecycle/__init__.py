"""The life of findings: random histories, and a slow, obvious model that they are held against."""
