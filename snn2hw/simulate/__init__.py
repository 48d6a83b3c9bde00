"""Simulating a program: the definition, the fast engine, and the float network beside them."""
