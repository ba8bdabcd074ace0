"""Design: what planned runs could identify, with what power, and what to run next."""

from simlaw.design.gate import Design as Design
from simlaw.design.gate import design as design
from simlaw.design.power import Power as Power
from simlaw.design.power import power as power
