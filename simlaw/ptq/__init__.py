"""Post-training quantization methods: one file each, one pure function each with the same signature."""

from simlaw.ptq.rtn import round_to_nearest as round_to_nearest
