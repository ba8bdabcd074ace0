"""Decisions: laws and budgets to sizes, data and formats, beside what the measured cells say alone."""
