"""Faults in real processes: what passes leaves no trace in the table, what does not is a row that says so."""
