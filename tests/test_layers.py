"""Modules import downwards only, and the table is the waist: laws and training never meet."""

import ast
from pathlib import Path

import pytest

from tests.conftest import ROOT

#: The layers of the package, from the bottom; a module may import its own layer and those below it.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("version", "errors", "declared", "files", "formats", "report", "law"),
    ("config", "schema", "quantize", "laws", "published"),
    (
        *(
            "accounting",
            "counted",
            "corpora",
            "product",
            "arithmetic",
            "model",
            "teacher",
            "optimizer",
            "recipe",
            "sweep",
        ),
        *("store", "checkpoint", "history", "ptq", "packed", "lowprecision"),
        *("averages", "devices", "sharded", "columns", "export", "lines", "table", "details", "matrices", "strata"),
        "losscurves",
    ),
    (
        *("plan", "train", "evaluate", "curvature", "diagnosed", "rows", "sample", "memory"),
        *("observations", "external", "importers", "simulation", "oracle", "ideal"),
        *(
            "fitting",
            "isoflops",
            "decision",
            "analysis",
            "trends",
            "curves",
            "compare",
            "health",
            "lawfile",
            "notebook",
        ),
        *("rates", "claims", "quantizations", "precisions", "seednoise", "means"),
    ),
    ("run", "loaded", "plot", "designs"),
    ("cli", "__main__", "__init__"),
)
TRAINING = {
    *("memory", "counted", "teacher"),
    *(
        "product",
        "arithmetic",
        "model",
        "optimizer",
        "train",
        "ptq",
        "packed",
        "lowprecision",
        "evaluate",
        "curvature",
        "diagnosed",
        "rows",
        "sample",
        "plan",
        "checkpoint",
        "history",
    ),
    *("averages", "corpora", "run", "loaded", "devices", "sharded"),
}
LAWS = {
    *("law", "laws", "published", "observations", "external", "importers", "simulation", "oracle", "ideal"),
    *("fitting", "isoflops", "decision", "analysis", "trends", "curves", "compare", "health", "lawfile", "notebook"),
    *("rates", "claims", "quantizations", "precisions", "seednoise", "means", "plot", "designs"),
}
PACKAGE = ROOT / "simlaw"
MODULES = sorted(path for path in PACKAGE.rglob("*.py"))


def layer(module: str) -> int:
    return next(i for i, names in enumerate(LAYERS) if module in names)


def top(path: Path) -> str:
    """The module or package directly below simlaw that a file belongs to."""
    relative = path.relative_to(PACKAGE)
    return relative.parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """What a file imports from simlaw, wherever in it: the names directly below the package."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module] if node.module != "simlaw" else [f"simlaw.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith("simlaw.")}
    return found


def test_every_module_has_a_layer():
    named = {name for names in LAYERS for name in names}
    assert {top(path) for path in MODULES} == named


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_downwards(path):
    mine = layer(top(path))
    upwards = {name for name in imports(path) if layer(name) > mine}
    assert not upwards, f"{path.name} in layer {mine} imports {upwards} from above it"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_laws_and_training_do_not_import_each_other(path):
    if top(path) in TRAINING:
        assert not imports(path) & LAWS
    if top(path) in LAWS:
        assert not imports(path) & TRAINING


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_has_one_noun(path):
    assert len(path.read_text().splitlines()) <= 400
