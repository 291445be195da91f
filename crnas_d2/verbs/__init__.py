"""The verbs of the command ``crnas-d2``, a module or a folder each, which import no other verb."""
