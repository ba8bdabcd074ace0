"""Breaks a worker in the way that `SIMLAW_TEST_FAULT` names, once its modules are loaded; Python runs it at its start.

A fault is JSON: its kind, and with `once` a file that is made when it strikes, after which it strikes no more.
"""

import errno
import importlib.machinery
import json
import os
import random
import sys
import time

FAULT = json.loads(os.environ.get("SIMLAW_TEST_FAULT", "{}"))


def strikes():
    """Whether the fault is still to strike."""
    try:
        if "once" in FAULT:
            os.close(os.open(FAULT["once"], os.O_CREAT | os.O_EXCL))
        return True
    except FileExistsError:
        return False


def hang(work):
    """A worker stops computing in its second dispatch, for ever."""
    own, calls = work._Job._run, []

    def run(self, program, trunk, data, end, rung, cool):
        calls.append(1)
        if len(calls) == 2 and strikes():
            time.sleep(10**6)
        return own(self, program, trunk, data, end, rung, cool)

    work._Job._run = run


def wrong_numbers(work):
    """The losses of one seed are no numbers from a step on, and nor are its parameters."""
    import jax
    import numpy as np

    own = work._Job._run

    def run(self, program, trunk, data, end, rung, cool):
        done = own(self, program, trunk, data, end, rung, cool)
        for i, spec in enumerate(rung):
            if spec.seed == FAULT["seed"] and done.step > FAULT["step"]:
                loss = np.array(done.history.loss)
                loss[i, FAULT["step"] :] = np.nan
                state = jax.tree.map(lambda x, i=i: x.at[i].set(np.nan) if x.dtype == np.float32 else x, done.state)
                done = work._Trunk(state=state, step=done.step, history=done.history._replace(loss=loss))
        return done

    work._Job._run = run


def memory(work):
    """No memory for more members than so many, or for one seed whatever its company."""
    own = work._Job._run

    def run(self, program, trunk, data, end, rung, cool):
        seeds = [spec.seed for spec in rung]
        if len(seeds) > FAULT.get("members", 99) or FAULT.get("seed") in seeds:
            raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1099511627776 bytes.")
        return own(self, program, trunk, data, end, rung, cool)

    work._Job._run = run


def crash(work):
    """The process dies of one seed, as of an operator's kill or a fault of a library."""
    own = work._Job._run

    def run(self, program, trunk, data, end, rung, cool):
        if FAULT["seed"] in [spec.seed for spec in rung] and strikes():
            os.kill(os.getpid(), 9)
        return own(self, program, trunk, data, end, rung, cool)

    work._Job._run = run


def broken_writes(files):
    """One write of so many fails, as on a disk or a network that comes and goes."""
    own, chance = os.fsync, random.Random(os.getpid())

    def fsync(descriptor):
        if chance.random() < FAULT["share"]:
            raise OSError(errno.EIO, "Input/output error")
        own(descriptor)

    os.fsync = fsync


def jumping_clock():
    """The wall clock is anywhere within ten years, at every look."""
    own, chance = time.time, random.Random(os.getpid())
    time.time = lambda: own() + chance.uniform(-3e8, 3e8)


AFTER = {
    "hang": ("simlaw.run.work", hang),
    "wrong numbers": ("simlaw.run.work", wrong_numbers),
    "memory": ("simlaw.run.work", memory),
    "crash": ("simlaw.run.work", crash),
    "broken writes": ("simlaw.files", broken_writes),
}


class Finder(importlib.machinery.PathFinder):
    """Finds one module as Python does, and breaks it when it is loaded."""

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        module, breaks = AFTER[FAULT["kind"]]
        spec = super().find_spec(name, path, target) if name == module else None
        if spec is not None:
            own = spec.loader.exec_module

            def load(loaded):
                own(loaded)
                breaks(loaded)

            spec.loader.exec_module = load
        return spec


if FAULT and "work" in sys.orig_argv:  # workers alone, not who attends them
    if FAULT["kind"] == "jumping clock":
        jumping_clock()
    else:
        sys.meta_path.insert(0, Finder)
