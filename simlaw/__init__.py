"""simlaw: when does quantizing a large language model lose to training a smaller one?

For planning notebooks: `import simlaw as sl` gives laws, published and fitted, and decisions; it needs NumPy alone.
`sl.load_model` and `sl.load_quantized` alone bring JAX with them. Each name is imported when it is first asked for: a
worker, which asks for none of them, starts a tenth faster.
"""

import importlib
from typing import TYPE_CHECKING, Any

from simlaw.version import __version__ as __version__

if TYPE_CHECKING:
    from simlaw import laws as laws
    from simlaw import published as published
    from simlaw.curves import bands as bands
    from simlaw.decision.allocate import allocate as allocate
    from simlaw.decision.bestbits import best_bits as best_bits
    from simlaw.decision.cache import TWO_LAYERS as TWO_LAYERS
    from simlaw.decision.cache import Cache as Cache
    from simlaw.decision.cache import Shape as Shape
    from simlaw.decision.choice import decide as decide
    from simlaw.decision.cost import BITS as BITS
    from simlaw.decision.cost import COSTS as COSTS
    from simlaw.decision.cost import FLOPS as FLOPS
    from simlaw.decision.cost import H200 as H200
    from simlaw.decision.cost import V6E as V6E
    from simlaw.decision.cost import CostTable as CostTable
    from simlaw.decision.cost import cost_table as cost_table
    from simlaw.decision.critical import critical_data as critical_data
    from simlaw.decision.critical import crossover as crossover
    from simlaw.decision.maps import best_bits_map as best_bits_map
    from simlaw.decision.maps import loss_map as loss_map
    from simlaw.decision.nextruns import next_runs as next_runs
    from simlaw.decision.regret import regret as regret
    from simlaw.decision.regret import regret_of_table as regret_of_table
    from simlaw.decision.resources import TIED as TIED
    from simlaw.decision.resources import WEIGHTS as WEIGHTS
    from simlaw.decision.resources import Training as Training
    from simlaw.decision.shipped import INTEGERS as INTEGERS
    from simlaw.decision.shipped import SHIPPED as SHIPPED
    from simlaw.decision.shipped import Shipped as Shipped
    from simlaw.designs import design as design
    from simlaw.external import load_table as load_table
    from simlaw.fitting.holdout import LargestC as LargestC
    from simlaw.fitting.holdout import LargestD as LargestD
    from simlaw.fitting.holdout import LargestN as LargestN
    from simlaw.fitting.holdout import LowestBits as LowestBits
    from simlaw.fitting.profile import profile as profile
    from simlaw.fitting.quantized import QuantizedFit as QuantizedFit
    from simlaw.fitting.residuals import residuals as residuals
    from simlaw.importers import load_olmo as load_olmo
    from simlaw.importers import load_wandb as load_wandb
    from simlaw.isoflops.optimum import compute_optimal as compute_optimal
    from simlaw.isoflops.runs import isoflop as isoflop
    from simlaw.lawfile import load_law as load_law
    from simlaw.loaded import load_model as load_model
    from simlaw.loaded import load_quantized as load_quantized
    from simlaw.notebook import fit as fit
    from simlaw.simulation import Noise as Noise
    from simlaw.simulation import simulate as simulate
    from simlaw.table import read_table as read_table

#: Where each public name is; `laws` and `published` are modules themselves.
_PLACES = {
    "simlaw.curves": ("bands",),
    "simlaw.decision.allocate": ("allocate",),
    "simlaw.decision.bestbits": ("best_bits",),
    "simlaw.decision.cache": ("TWO_LAYERS", "Cache", "Shape"),
    "simlaw.decision.choice": ("decide",),
    "simlaw.decision.cost": ("BITS", "COSTS", "FLOPS", "H200", "V6E", "CostTable", "cost_table"),
    "simlaw.decision.critical": ("critical_data", "crossover"),
    "simlaw.decision.maps": ("best_bits_map", "loss_map"),
    "simlaw.decision.nextruns": ("next_runs",),
    "simlaw.decision.regret": ("regret", "regret_of_table"),
    "simlaw.decision.resources": ("TIED", "WEIGHTS", "Training"),
    "simlaw.decision.shipped": ("INTEGERS", "SHIPPED", "Shipped"),
    "simlaw.designs": ("design",),
    "simlaw.external": ("load_table",),
    "simlaw.fitting.holdout": ("LargestC", "LargestD", "LargestN", "LowestBits"),
    "simlaw.fitting.profile": ("profile",),
    "simlaw.fitting.quantized": ("QuantizedFit",),
    "simlaw.fitting.residuals": ("residuals",),
    "simlaw.importers": ("load_olmo", "load_wandb"),
    "simlaw.isoflops.optimum": ("compute_optimal",),
    "simlaw.isoflops.runs": ("isoflop",),
    "simlaw.lawfile": ("load_law",),
    "simlaw.loaded": ("load_model", "load_quantized"),
    "simlaw.notebook": ("fit",),
    "simlaw.simulation": ("Noise", "simulate"),
    "simlaw.table": ("read_table",),
}
_HOME = {name: place for place, names in _PLACES.items() for name in names}
_MODULES = ("laws", "published")

#: `from simlaw import *` gives all but what brings JAX with it.
__all__ = ["laws", "published"]
__all__ += [name for name in _HOME if name not in ("load_model", "load_quantized")]


def __getattr__(name: str) -> Any:
    """A public name, imported when it is first asked for; raises `AttributeError` for names that do not exist."""
    if name in _MODULES:
        return importlib.import_module(f"simlaw.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'simlaw' has no attribute {name!r}")
    found = globals()[name] = getattr(importlib.import_module(_HOME[name]), name)
    return found


def __dir__() -> list[str]:
    """All names that there are, for completion."""
    return sorted({*globals(), *_HOME, *_MODULES})
