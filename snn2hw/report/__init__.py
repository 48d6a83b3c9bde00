"""Results as text and as one HTML page; nothing here computes."""
