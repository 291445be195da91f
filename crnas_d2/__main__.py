"""``python -m crnas_d2`` is the command ``crnas-d2``."""

from crnas_d2.verbs.main import main

if __name__ == "__main__":  # a process that a verb starts imports this file again
    main()
