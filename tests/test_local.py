"""Workers on this machine: who dies is buried at once, so that the others take over what it held."""

import subprocess
import sys

from simlaw.run.local import _attend

#: Ends well as soon as a process is gone, and badly where it is not within five seconds.
WATCH = """
import os, sys, time
for _ in range(100):
    try:
        os.kill(int(sys.argv[1]), 0)
    except OSError:
        sys.exit(0)
    time.sleep(0.05)
sys.exit(3)
"""


def test_a_dead_worker_leaves_no_process_behind_while_another_works(tmp_path):
    log = tmp_path / "log"
    log.write_text("")
    with (
        subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE, text=True) as dead,
        subprocess.Popen([sys.executable, "-c", WATCH, str(dead.pid)], stdout=subprocess.PIPE, text=True) as other,
    ):
        assert _attend([(dead, log), (other, log)], lambda *_: None).failures == ()
