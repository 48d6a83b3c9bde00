"""Where the verbs meet. ``compiler`` is the whole compiler on one screen; the rest are commands."""
