#!/usr/bin/env python3
"""Install Detectron2; this needs nothing but Python, not even this package."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from crnas_d2.verbs.install_detectron2 import main

if __name__ == "__main__":
    sys.exit(main())
