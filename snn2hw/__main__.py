"""``python -m snn2hw``."""

from snn2hw.cli import main

if __name__ == "__main__":
    main()
