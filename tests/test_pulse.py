"""The pulse: it beats while the process computes, and not while it hangs."""

import subprocess
import sys
import time

import pytest

from simlaw.run.pulse import Pulse

BEATS = """
import sys, time
from simlaw.run.pulse import Pulse
beats = []
with Pulse(lambda: beats.append(1), 0.2) as pulse:
    end = time.monotonic() + 1.5
    while time.monotonic() < end:
        exec(sys.argv[1])
print(len(beats))
"""


def test_a_beat_that_fails_ends_no_pulse():
    beats = []

    def beat():
        beats.append(1)
        raise OSError(28, "No space left on device")

    with Pulse(beat, 0.05) as pulse:
        for _ in range(8):
            pulse.alive()
            time.sleep(0.05)
    assert len(beats) > 2


@pytest.mark.parametrize(
    ("does", "beats"),
    [("sum(range(1000))", True), ("time.sleep(1.5)", False), ("pulse.alive(); time.sleep(0.1)", True)],
)
def test_a_process_that_computes_or_says_so_gives_signs_of_life(does, beats):
    """In a process of its own: other tests compute in this one."""
    said = subprocess.run([sys.executable, "-c", BEATS, does], capture_output=True, text=True, check=True).stdout
    assert (int(said) >= 3) == beats
    assert (int(said) == 0) != beats
