"""What adapters of manifests share: text and its limits, JSON, TOML and YAML with lines, rows, graphs."""
