"""Readers of report files made elsewhere, one file for each format. Empty until the first importer."""
