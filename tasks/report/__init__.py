"""HTML, SARIF, OCSF and SBOM made from the lake. Empty until the first report."""
