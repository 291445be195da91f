"""``python -m crnas_d2`` is the command ``crnas-d2``."""

import os
import sys
from pathlib import Path

if __name__ == "__main__" and sys.path[:1] == [os.getcwd()]:
    # Python puts the working directory first, which may be that of a run, with modules of its own.
    # The folder of this package stays, for the processes that a verb starts.
    del sys.path[0]
    sys.path.append(str(Path(__file__).resolve().parent.parent))

from crnas_d2.verbs.main import main

if __name__ == "__main__":  # a process that a verb starts imports this file again
    main()
