"""`make bench`: simlaw against its peers, side by side in one run, and what its own parts take.

Every contender is measured in turn, round after round, so that a machine whose speed drifts treats all alike; ratios
are of medians. Writes results.md, a section for each part with the machine and commit where it was measured, and
prints it; a part that is left out keeps its section.
"""

import argparse

import corpora
import fits
import precisions
import quantizers
import scheduling
import trainer
from here import HERE

PARTS = {
    "fits": fits,
    "trainer": trainer,
    "quantizers": quantizers,
    "precisions": precisions,
    "corpora": corpora,
    "scheduling": scheduling,
}
RESULTS = HERE / "results.md"


def main() -> None:
    """Measure, print and write."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--peer", required=True, help="Python of the peers' environment")
    arguments.add_argument("--only", choices=PARTS, help="measure this part, and keep the others' numbers")
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--seconds", type=float, default=6.0, help="of a trainer in a round")
    options = arguments.parse_args()
    for name, part in PARTS.items():
        if options.only in (None, name):
            section = part.measured(options)
            print(section)
            # after each part, so that a failure of the next costs nothing
            RESULTS.write_text(replaced(RESULTS.read_text() if RESULTS.is_file() else "", section))


def replaced(report: str, section: str) -> str:
    """The report with the section in the place of the one that has its title, or at the end."""
    sections = [f"# {text.strip()}\n" for text in f"\n{report}".split("\n# ") if text.strip()]
    titles = [text.splitlines()[0] for text in sections]
    title = section.splitlines()[0]
    at = titles.index(title) if title in titles else len(sections)
    return "\n".join([*sections[:at], section, *sections[at + 1 :]])


if __name__ == "__main__":
    main()
