"""Sources of drift, one file each. Empty until the first source."""
