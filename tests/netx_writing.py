"""netx files for the tests: written, or why not."""

from __future__ import annotations

from snn2hw.families.loihi import netx


def why_not(program):
    """Return why netx cannot hold a program, or None if it can."""
    planned = netx.plan(program)
    return planned if isinstance(planned, str) else None


def write(path, program):
    """Write a program that netx can hold."""
    planned = netx.plan(program)
    assert not isinstance(planned, str), planned
    planned(path)
