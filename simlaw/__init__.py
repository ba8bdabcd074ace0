"""simlaw: when does quantizing a large language model lose to training a smaller one?

For planning notebooks: `import simlaw as sl` gives laws, published and fitted, and decisions; it needs NumPy alone.
"""

from simlaw import laws as laws
from simlaw import published as published
from simlaw.allocate import allocate as allocate
from simlaw.choice import SHIPPED as SHIPPED
from simlaw.choice import decide as decide
from simlaw.curves import bands as bands
from simlaw.design import design as design
from simlaw.external import load_table as load_table
from simlaw.holdout import LargestC as LargestC
from simlaw.holdout import LargestD as LargestD
from simlaw.holdout import LargestN as LargestN
from simlaw.holdout import LowestBits as LowestBits
from simlaw.importers import load_olmo as load_olmo
from simlaw.importers import load_wandb as load_wandb
from simlaw.isoflop import isoflop as isoflop
from simlaw.lawfile import load_law as load_law
from simlaw.maps import best_bits_map as best_bits_map
from simlaw.maps import loss_map as loss_map
from simlaw.notebook import fit as fit
from simlaw.optimum import compute_optimal as compute_optimal
from simlaw.profile import profile as profile
from simlaw.residuals import residuals as residuals
from simlaw.simulate import Noise as Noise
from simlaw.simulate import simulate as simulate
from simlaw.table import read_table as read_table
from simlaw.version import __version__ as __version__
