"""Running a plan: what is missing is computed, by workers that share nothing but the store."""
