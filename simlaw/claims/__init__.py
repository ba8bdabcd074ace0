"""What tables say of the claims in the register: verdicts with their numbers."""

from simlaw.claims.register import CLAIMS, judge
from simlaw.claims.verdict import Finding, Verdict, Verdicts

__all__ = ["CLAIMS", "Finding", "Verdict", "Verdicts", "judge"]
