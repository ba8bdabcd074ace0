"""What tables say of the claims in the register: verdicts with their numbers."""

from simlaw.claims.claim import Beside
from simlaw.claims.register import CLAIMS, claim_of, judge
from simlaw.claims.verdict import Finding, Verdict, Verdicts

__all__ = ["CLAIMS", "Beside", "Finding", "Verdict", "Verdicts", "claim_of", "judge"]
