"""What one night does, free of Prefect: plan, scan a repository, publish. Composes the rooms; knows no flow."""
