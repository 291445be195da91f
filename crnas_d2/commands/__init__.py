"""The verbs of the command ``crnas-d2``; the scripts of a clone call the same code."""
