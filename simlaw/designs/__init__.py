"""Design: what planned runs could identify, with what power, and what to run next."""

from simlaw.designs.gate import Design as Design
from simlaw.designs.gate import design as design
from simlaw.designs.power import Power as Power
from simlaw.designs.power import power as power
