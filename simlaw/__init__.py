"""simlaw: when does quantizing a large language model lose to training a smaller one?

For planning notebooks: `import simlaw as sl` gives laws, published and fitted, and decisions; it needs NumPy alone.
"""

from simlaw import laws as laws
from simlaw import published as published
from simlaw.allocate import allocate as allocate
from simlaw.bestbits import best_bits as best_bits
from simlaw.cache import TWO_LAYERS as TWO_LAYERS
from simlaw.cache import Cache as Cache
from simlaw.cache import Shape as Shape
from simlaw.choice import decide as decide
from simlaw.cost import BITS as BITS
from simlaw.cost import COSTS as COSTS
from simlaw.cost import FLOPS as FLOPS
from simlaw.cost import H200 as H200
from simlaw.cost import V6E as V6E
from simlaw.cost import CostTable as CostTable
from simlaw.cost import cost_table as cost_table
from simlaw.critical import critical_data as critical_data
from simlaw.critical import crossover as crossover
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
from simlaw.nextruns import next_runs as next_runs
from simlaw.notebook import fit as fit
from simlaw.optimum import compute_optimal as compute_optimal
from simlaw.profile import profile as profile
from simlaw.quantizedfit import QuantizedFit as QuantizedFit
from simlaw.regret import regret as regret
from simlaw.regret import regret_of_table as regret_of_table
from simlaw.residuals import residuals as residuals
from simlaw.resources import TIED as TIED
from simlaw.resources import WEIGHTS as WEIGHTS
from simlaw.resources import Training as Training
from simlaw.shipped import INTEGERS as INTEGERS
from simlaw.shipped import SHIPPED as SHIPPED
from simlaw.shipped import Shipped as Shipped
from simlaw.simulate import Noise as Noise
from simlaw.simulate import simulate as simulate
from simlaw.table import read_table as read_table
from simlaw.version import __version__ as __version__
