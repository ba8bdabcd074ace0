"""Fitting: a form and observations to a law with its health, errors and draws."""
