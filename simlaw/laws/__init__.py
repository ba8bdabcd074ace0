"""Forms of laws, one file for each family; `FORMS` is what a law file may name."""

from simlaw.law import AbstractLaw
from simlaw.laws.chinchilla import Chinchilla as Chinchilla
from simlaw.laws.data import DataConstrained as DataConstrained
from simlaw.laws.data import JointPower as JointPower
from simlaw.laws.data import Overtrained as Overtrained
from simlaw.laws.downstream import Downstream as Downstream
from simlaw.laws.downstream import ErrorLaw as ErrorLaw
from simlaw.laws.formats import GroupPenalty as GroupPenalty
from simlaw.laws.formats import PrecisionFloat as PrecisionFloat
from simlaw.laws.gaussian import gaussian_error as gaussian_error
from simlaw.laws.penalty import ExponentialPenalty as ExponentialPenalty
from simlaw.laws.penalty import FreePenalty as FreePenalty
from simlaw.laws.penalty import PowerPenalty as PowerPenalty
from simlaw.laws.penalty import StepPenalty as StepPenalty
from simlaw.laws.precision import EffectiveCompression as EffectiveCompression
from simlaw.laws.precision import EffectiveFree as EffectiveFree
from simlaw.laws.precision import EffectiveGaussian as EffectiveGaussian
from simlaw.laws.precision import PrecisionAdded as PrecisionAdded
from simlaw.laws.precision import PrecisionExponential as PrecisionExponential
from simlaw.laws.precision import PrecisionShifted as PrecisionShifted
from simlaw.laws.precision import PrecisionTokens as PrecisionTokens
from simlaw.laws.precision import PrecisionUnified as PrecisionUnified
from simlaw.laws.precision import PrecisionWeights as PrecisionWeights
from simlaw.laws.roles import EffectiveStep as EffectiveStep
from simlaw.laws.roles import EffectiveTokens as EffectiveTokens
from simlaw.laws.roles import PrecisionGrowing as PrecisionGrowing
from simlaw.laws.roles import PrecisionSum as PrecisionSum

_ALL: tuple[type[AbstractLaw], ...] = (
    *(Chinchilla, DataConstrained, JointPower, Overtrained),
    *(PrecisionWeights, PrecisionShifted, PrecisionExponential, PrecisionUnified, PrecisionFloat),
    *(PrecisionTokens, PrecisionAdded),
    *(EffectiveStep, EffectiveTokens, PrecisionSum, PrecisionGrowing),
    *(EffectiveFree, EffectiveGaussian, EffectiveCompression),
    *(StepPenalty, ExponentialPenalty, PowerPenalty, FreePenalty, GroupPenalty),
    Downstream,
)
FORMS: dict[str, type[AbstractLaw]] = {form.__name__: form for form in _ALL}
#: Variables that some form allows to be 0.
ZERO: frozenset[str] = frozenset(name for form in _ALL for name in form.zero)
