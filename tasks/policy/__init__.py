"""Severity, priority, SLA, decisions, compliance controls. Empty until the first policy."""
