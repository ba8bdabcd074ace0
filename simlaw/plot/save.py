"""Saving figures so that the same figure gives the same bytes, with the hashes of what it shows."""

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

from matplotlib.figure import Figure

from simlaw.files import write_file


def save(figure: Figure, out: Path, name: str, facts: Mapping[str, str]) -> list[Path]:
    """The PNG and the SVG of a figure in the folder `out`; `facts` go into their metadata, dates do not."""
    text = "; ".join(f"{key} {value}" for key, value in facts.items())
    metadata = {
        "png": {"Software": None, "Description": text},
        "svg": {"Date": None, "Creator": None, "Description": text},
    }
    paths = []
    for kind, about in metadata.items():
        data = BytesIO()
        figure.savefig(data, format=kind, metadata=about)
        paths.append(out / f"{name}.{kind}")
        write_file(paths[-1], data.getvalue())
    return paths
