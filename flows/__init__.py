"""What runs: one flow a file, the command line and the settings, nothing else."""
