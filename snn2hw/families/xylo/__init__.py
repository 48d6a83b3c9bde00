"""SynSense's Xylo: integers, one core, chip time and xylosim."""
