"""Vendor simulators that live in an environment of their own."""
