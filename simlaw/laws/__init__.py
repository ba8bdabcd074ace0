"""Forms of laws, one file for each family."""

from simlaw.laws.chinchilla import Chinchilla as Chinchilla
from simlaw.laws.penalty import ExponentialPenalty as ExponentialPenalty
from simlaw.laws.penalty import PowerPenalty as PowerPenalty
from simlaw.laws.penalty import StepPenalty as StepPenalty
from simlaw.laws.precision import PrecisionExponential as PrecisionExponential
