"""The version of simlaw: one of the columns of the table."""

__version__ = "0.1.0"
