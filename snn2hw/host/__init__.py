"""The computer that this runs on: how long the same answers take it, and at what energy."""
