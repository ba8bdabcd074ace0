"""This machine as a worker meets it: its processor, the most it could compute, and the memory that is taken."""

import contextlib
import math
import platform
import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np

from simlaw.config import Dtype
from simlaw.declared import digest
from simlaw.run.cores import usable_cores
from simlaw.run.kept import once
from simlaw.store import AbstractStore

#: Data-sheet peaks in FLOP/s without sparsity, by JAX's name of the device and the arithmetic of the products:
#: NVIDIA's data sheets of V100, A100, H100 and H200 (float32 outside the tensor cores, since products are not
#: shortened to TF32), Google's of its TPUs, which give bfloat16 alone.
PEAKS: dict[str, dict[Dtype, float]] = {
    "Tesla V100-SXM2-16GB": {"float32": 15.7e12},
    "NVIDIA A100-SXM4-40GB": {"float32": 19.5e12, "bfloat16": 312e12},
    "NVIDIA A100-SXM4-80GB": {"float32": 19.5e12, "bfloat16": 312e12},
    "NVIDIA H100 80GB HBM3": {"float32": 67e12, "bfloat16": 989e12},
    "NVIDIA H200": {"float32": 67e12, "bfloat16": 989e12},
    "TPU v4": {"bfloat16": 275e12},
    "TPU v5 lite": {"bfloat16": 197e12},
    "TPU v5": {"bfloat16": 459e12},
    "TPU v6 lite": {"bfloat16": 918e12},
}

#: The share of the peak that evaluations of small models reach, at the least.
_SMALL = 0.05
#: The side of the product that measures a core, and for how long it is repeated.
_SIDE, _SECONDS = 768, 0.2


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What a worker's rates are measured against: the kind of its device, and peak FLOP/s by arithmetic where known."""

    kind: str = "unknown"
    peaks: tuple[tuple[Dtype, float], ...] = ()

    def utilisation(self, flops: float, seconds: float, dtype: Dtype) -> float | None:
        """The share of the peak that so many FLOPs of matrix products took, or None where no peak is known."""
        peak = dict(self.peaks).get(dtype)
        return None if peak is None or seconds <= 0 else flops / seconds / peak

    def flops_in(self, seconds: float) -> float:
        """FLOPs of small models that so many seconds suffice for, roughly; without end where no peak is known."""
        return _SMALL * seconds * min(peak for _, peak in self.peaks) if self.peaks else math.inf


def machine(store: AbstractStore, devices: int = 1) -> Machine:
    """The machine under this process with so many accelerators, or with the cores that the process may use.

    A core's peak is measured once and kept in the store; on a CPU it serves every arithmetic, which is emulated there.
    """
    found = jax.local_devices()[0]
    if found.platform != "cpu":
        each = PEAKS.get(found.device_kind, {})
        return Machine(kind=found.device_kind, peaks=tuple((dtype, devices * peak) for dtype, peak in each.items()))
    if jax.process_count() > 1:
        return Machine(kind=processor())  # whether the processes of a team share cores, nobody here knows
    peak = usable_cores() * once(store, f"FLOP/s of a core of {processor()}", measured_peak)
    return Machine(kind=processor(), peaks=(("float32", peak), ("bfloat16", peak)))


def processor() -> str:
    """A hash of what compiled code depends on here: the processor's kind and abilities."""
    about = [platform.machine(), platform.processor()]
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        about += sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))})
    return digest(tuple(about))


def memory() -> int:
    """The most bytes that this process has held: of the accelerator where it has one, else of the machine."""
    stats = jax.local_devices()[0].memory_stats()
    if stats and "peak_bytes_in_use" in stats:
        return int(stats["peak_bytes_in_use"])
    # Linux counts kilobytes, macOS bytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def measured_peak() -> float:
    """FLOP/s of one core on a float32 product of a few megabytes: the best of many.

    By the time that the process computes and not by the clock, so that neither other processes nor threads count.
    """
    a = np.ones((_SIDE, _SIDE), np.float32)
    best, began = np.inf, time.perf_counter()
    while time.perf_counter() - began < _SECONDS:
        start = time.process_time()
        a @ a
        best = min(best, max(1e-9, time.process_time() - start))
    return 2.0 * _SIDE**3 / best
