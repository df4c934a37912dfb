"""`python -m datasets.scenes`."""

from __future__ import annotations

import sys

from datasets.scenes.command import main

if __name__ == "__main__":
    sys.exit(main())
