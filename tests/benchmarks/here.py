"""Where a benchmark runs: the machine, the versions and the commit, in words."""

import os
import platform
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent


def machine() -> str:
    """The machine in words."""
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.processor(),
    )
    flags = Path("/proc/cpuinfo").read_text()
    vectors = "AVX-512" if "avx512f" in flags else "AVX2" if "avx2" in flags else "no AVX2"
    cores = len(os.sched_getaffinity(0))
    return f"{cores} cores of {model} ({vectors}), {platform.system()}, Python {platform.python_version()}"


def version(python: str, package: str) -> str:
    """The installed version of a package."""
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def commit() -> str:
    """The commit that is checked out, and whether the package differs from it; "no commit" outside a repository."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()

    name = git("rev-parse", "--short=10", "HEAD")
    changed = git("status", "--porcelain", "--", "simlaw", "tests/benchmarks")
    return f"commit {name}{' with changes' if changed else ''}" if name else "no commit"
