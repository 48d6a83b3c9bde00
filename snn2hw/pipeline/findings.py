"""What Python's verbs find out: a proof and a bill, which print as the commands do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from snn2hw.estimator import EnergyReport
from snn2hw.report import bill, text
from snn2hw.report.proof import proved


class Proof(dict[str, Any]):
    """The document of ``snn2hw verify --json``."""

    def __repr__(self) -> str:
        """Say in a few lines what was compared."""
        return "\n".join(text.verification(self, "the build"))


class Bill(EnergyReport):
    """An energy report that prints as ``snn2hw energy report`` does.

    ``build`` is the name of what it is of, ``rewrites`` what rewrites changed in that, ``program``
    its hash, and ``proof`` what was proved of it last.
    """

    __slots__ = ("build", "program", "proof", "rewrites")

    build: str
    program: str
    proof: Mapping[str, Any] | None
    rewrites: Mapping[str, Any] | None

    @classmethod
    def of(
        cls,
        report: EnergyReport,
        build: str,
        program: str,
        proof: Mapping[str, Any] | None = None,
        rewrites: Mapping[str, Any] | None = None,
    ) -> Bill:
        """Return a report with what it is of."""
        made = cls(**{f.name: getattr(report, f.name) for f in fields(report)})
        told = {"build": build, "program": program, "proof": proof, "rewrites": rewrites}
        for name, value in told.items():
            object.__setattr__(made, name, value)
        return made

    def __str__(self) -> str:
        """Write the whole report, in 80 columns."""
        lines = bill.energy(self, self.build, self.rewrites, proved(self.proof, self.program))
        return "\n".join(lines)
