"""Putting a tensor on a number format: scale groups, scales, rounding, storage, and gradients."""

from simlaw.quantize.fake import fake_quantize as fake_quantize
from simlaw.quantize.rounding import cast as cast
from simlaw.quantize.rounding import half as half
from simlaw.quantize.rounding import numbers as numbers
from simlaw.quantize.rounding import on_levels as on_levels
from simlaw.quantize.stored import Quantized as Quantized
from simlaw.quantize.stored import dequantize as dequantize
from simlaw.quantize.stored import quantize as quantize
from simlaw.quantize.through import estimated as estimated
from simlaw.quantize.through import first_step as first_step
from simlaw.quantize.through import learned_step as learned_step
from simlaw.quantize.through import straight_through as straight_through
