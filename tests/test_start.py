"""What a process imports before it needs it: names of the package come when asked for, a worker brings no laws."""

import ast
import subprocess
import sys

import simlaw as sl
from tests.conftest import ROOT

PACKAGE = ROOT / "simlaw"


def declared() -> dict[str, str]:
    """The names that type checkers see, with their modules."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    return {name.name: node.module for node in block.body for name in node.names}


def loaded(code: str) -> set[str]:
    """The modules that a fresh process has imported after some code."""
    code += "; import sys; print(*sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(said.stdout.splitlines()[-1].split())


def test_every_name_is_found_where_type_checkers_see_it():
    modules = {name for name, place in declared().items() if place == "simlaw"}
    assert {name: place for name, place in declared().items() if name not in modules} == sl._HOME
    assert modules == set(sl._MODULES)
    for name, place in sl._HOME.items():
        assert getattr(sl, name) is getattr(sys.modules[place], name)
    assert set(declared()) | {"__version__"} <= set(dir(sl))


def test_no_name_is_hidden_by_a_module():
    # importing simlaw.NAME would put the module in the place of what `sl.NAME` is
    assert not [name for name in sl._HOME if (PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").exists()]


def test_the_package_alone_imports_nothing():
    found = loaded("import simlaw")
    assert "numpy" not in found
    assert {name for name in found if name.startswith("simlaw")} == {"simlaw", "simlaw.version"}


def test_a_worker_imports_only_what_it_needs():
    from tests.test_layers import LAWS

    found = loaded("import simlaw.cli.work, simlaw.run.worker, simlaw.run.local")
    assert "jax" in found
    assert not {name for name in found if name.startswith("simlaw.") and name.split(".")[1] in LAWS}
    assert not {"orbax", "matplotlib", "scipy", "tensorboard", "wandb"} & {name.split(".")[0] for name in found}
