"""Recordings of event sensors in the files that they come in, and frames of their event counts.

Files of other people's formats are read within limits: what is decoded by compiled packages, in a
process of its own.
"""

from __future__ import annotations

from snn2hw.recordings.binning import Binning, Fit, Shown, fit, show
from snn2hw.recordings.read import READERS, UNREAD, is_recording, read_recording
from snn2hw.recordings.recording import Events, Recording
from snn2hw.recordings.telling import Tally, clipped, told

__all__ = [
    "READERS",
    "UNREAD",
    "Binning",
    "Events",
    "Fit",
    "Recording",
    "Shown",
    "Tally",
    "clipped",
    "fit",
    "is_recording",
    "read_recording",
    "show",
    "told",
]
