"""How many rules are broken: at least ten different ones at each entry point, and a hundred in all."""

from tests.bad_input import (
    test_checkpoints,
    test_commands,
    test_corpora,
    test_laws,
    test_manifests,
    test_sweeps,
    test_tables,
)

#: The tables of malformed inputs by entry point, each from the rule to the input and words of the sentence.
RULES = {
    "sweep file": (test_sweeps.FILES, test_sweeps.CHANGES),
    "table": (test_tables.OWN, test_tables.OTHERS, test_tables.PARQUET),
    "law file": (test_laws.FILES, test_laws.FIELDS),
    "checkpoint": (test_checkpoints.RUNS, test_checkpoints.HISTORIES, test_checkpoints.PACKED),
    "corpus": (test_corpora.TOKEN_FILES, test_corpora.DECLARATIONS, test_corpora.TEXTS, test_corpora.TEACHERS),
    "manifest": (test_manifests.FILES, test_manifests.FIELDS, test_manifests.OPTIONS),
    "command line": (test_commands.LINES,),
}


def test_there_are_enough_of_them() -> None:
    counts = {point: len({rule for table in tables for rule in table}) for point, tables in RULES.items()}
    assert min(counts.values()) >= 10, counts
    assert sum(counts.values()) >= 100, counts
