"""The exception for mistakes that the person at the keyboard can mend."""


class SimlawError(Exception):
    """A caller's mistake: one sentence with the offending value, the rule it breaks and the next thing to try.

    The command line prints it on one line and exits with status 2; nothing that was computed is lost.
    """
