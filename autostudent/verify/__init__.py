"""Proof for a shortlist: fresh seeds over the full schedule, controls and rivals beside it."""

from autostudent.verify.proof import SHORTLIST, Proof, verify

__all__ = ["SHORTLIST", "Proof", "verify"]
