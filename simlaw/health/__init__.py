"""The health of a ladder: sizes that collapse on one loss curve, and those that stand off."""
