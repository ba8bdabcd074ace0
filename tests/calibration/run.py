"""How often 90 % intervals hold the truth: many designs drawn from planted laws, each fitted with a bootstrap.

`make calibration` runs it; `table.csv` beside it is committed. The lines of every finished design are in
`rows-SOURCES.csv`, which is named by a hash of the sources that fits depend on: after Ctrl-C the same command goes on
from there, and changed sources start anew.
"""

import argparse
import contextlib
import csv
import hashlib
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.calibration.designs import DESIGNS, Design

HERE = Path(__file__).parent
#: What intervals depend on, besides NumPy: fits, laws, the rows that are drawn, and the designs.
SOURCES = (
    *("simlaw/fitting", "simlaw/laws", "simlaw/law.py", "simlaw/observations.py", "simlaw/simulation.py"),
    "tests/calibration",
)
FIELDS = ("form", "design", "draws", "health", "seconds", "quantity", "truth", "low", "high")
#: The name of the quantity that is no parameter.
PREDICTION = "3 x the largest N and D"


def one_design(task: tuple[Design, str, int, int]) -> list[tuple[object, ...]]:
    """The lines of one design: the interval of every estimated parameter, and of a prediction outside the rows."""
    from simlaw.fitting.fit import fit
    from simlaw.fitting.uncertainty import bootstrap, interval
    from simlaw.simulation import simulate

    design, name, number, draws = task
    began = time.perf_counter()
    x, trunk = design.rows()
    seen = simulate(design.truth, x, trunk, noise=design.noise, seed=number)
    weights = bootstrap(seen.trunk, seen.x["N"], draws=draws, seed=number)
    fixed = {key: float(design.truth.values[key]) for key in design.fixed}
    found = fit(type(design.truth), seen, weights, fixed=fixed, seed=number)
    assert found.draws is not None
    quantities = [
        (key, float(value), found.draws.values[key])
        for key, value in design.truth.values.items()
        if key not in found.fixed and key not in found.unknown
    ]
    far = design.far()
    quantities.append((PREDICTION, float(design.truth.evaluate(far)), found.draws.evaluate(far)))
    seconds = time.perf_counter() - began
    return [
        (
            name,
            number,
            draws,
            found.health,
            f"{seconds:.3g}",
            key,
            repr(truth),
            *(f"{end:.6g}" for end in interval(drawn)),
        )
        for key, truth, drawn in quantities
    ]


def summary(lines: list[dict[str, str]]) -> list[dict[str, str]]:
    """The table: for each form and quantity the share of intervals that hold the truth, among VALID fits."""
    import numpy as np

    table = []
    for form, quantity in dict.fromkeys((line["form"], line["quantity"]) for line in lines):
        mine = [line for line in lines if (line["form"], line["quantity"]) == (form, quantity)]
        valid = [line for line in mine if line["health"] == "VALID"]
        truth, low, high = (np.array([float(line[key]) for line in valid]) for key in ("truth", "low", "high"))
        share = float(np.mean((low <= truth) & (truth <= high))) if valid else float("nan")
        error = np.sqrt(share * (1 - share) / len(valid)) if valid else float("nan")
        width = float(np.mean((high - low) / np.abs(truth))) if valid else float("nan")
        table.append(
            {
                "form": form,
                "quantity": quantity,
                "designs": str(len(mine)),
                "valid": f"{len(valid) / len(mine):.3f}",
                "coverage": f"{share:.3f}",
                "coverage_se": f"{error:.3f}",
                "below": f"{np.mean(truth < low) if valid else np.nan:.3f}",
                "above": f"{np.mean(truth > high) if valid else np.nan:.3f}",
                "relative_width": f"{width:.3g}",
                "draws": mine[0]["draws"],
                "seconds": f"{np.median([float(line['seconds']) for line in mine]):.2g}",
            }
        )
    return table


def sources(root: Path = HERE.parent.parent) -> str:
    """Twelve digits that change with any of the sources."""
    files = [one for name in SOURCES for one in ([root / name] if name.endswith(".py") else (root / name).glob("*.py"))]
    text = [f"{one.relative_to(root)}\n{one.read_text()}" for one in sorted(files)]
    return hashlib.sha256("\n".join(text).encode()).hexdigest()[:12]


def read(path: Path) -> list[dict[str, str]]:
    """The lines of whole designs so far; the last one may have been cut off."""
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return [line for line in csv.DictReader(file) if None not in line.values()]


def main() -> None:
    """Run what is missing of the designs, then write the table."""
    from simlaw.cli.progress import progress

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--designs", type=int, default=500, help="designs of each form")
    parser.add_argument("--draws", type=int, default=300, help="bootstrap draws of each fit")
    parser.add_argument("--forms", nargs="+", default=list(DESIGNS), choices=list(DESIGNS), metavar="FORM")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=HERE, help="where rows-SOURCES.csv is; kept out of git")
    parser.add_argument("--out", type=Path, default=HERE / "table.csv")
    options = parser.parse_args()
    rows = options.folder / f"rows-{sources()}.csv"
    done = read(rows)
    others = sorted(one.name for one in options.folder.glob("rows*.csv") if one != rows)
    print(f"{rows}: {len(done)} lines of these sources" + f"; of others, not used: {', '.join(others)}" * bool(others))
    have = {(line["form"], int(line["design"]), int(line["draws"])) for line in done}
    tasks = [(form, number, options.draws) for number in range(options.designs) for form in options.forms]
    left = [task for task in tasks if task not in have]
    # forms of equal numbers of designs, whenever it is stopped
    with rows.open("a", newline="") as file, contextlib.suppress(KeyboardInterrupt):
        writer = csv.writer(file, lineterminator="\n")
        if not done:
            writer.writerow(FIELDS)
        with progress("designs", len(left)) as tell:
            for lines in results([(DESIGNS[task[0]], *task) for task in left], options.workers):
                writer.writerows(lines)
                file.flush()
                tell(1)
    wanted = set(tasks)
    once = {(line["form"], int(line["design"]), int(line["draws"]), line["quantity"]): line for line in read(rows)}
    lines = [line for key, line in once.items() if key[:3] in wanted]  # two runs at once would count a design twice
    table = summary(lines)
    if not table:
        sys.exit("nothing is finished yet: run it again")
    with options.out.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(table[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)
    finished = len({(line["form"], line["design"]) for line in lines})
    print(f"{finished} of {len(tasks)} designs are in {options.out}")


def results(tasks: list[tuple[Design, str, int, int]], workers: int) -> Iterator[list[tuple[object, ...]]]:
    """The lines of each design as it is finished, from processes of one thread each."""
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")
    with multiprocessing.get_context("spawn").Pool(workers, initializer=_ignore) as pool:
        yield from pool.imap_unordered(one_design, tasks)


def _ignore() -> None:
    """Leave Ctrl-C to the parent, which writes what is finished."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


if __name__ == "__main__":
    main()
