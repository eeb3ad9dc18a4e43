"""Secret rotation: the state machine, one file for each backend and target. Empty until the first backend."""
