"""The order in which starter configs are used: chains of trainings and searches."""

from dataclasses import dataclass

from .recipe import Recipe


@dataclass(frozen=True)
class Step:
    """One command: a training or a search with one config.

    Attributes:
        run: name of the config, and of its folder of results.
        verb: ``train`` or ``search``.
    """

    run: str
    verb: str = "train"


@dataclass(frozen=True)
class Chain:
    """Steps that belong together, and what they end with.

    Attributes:
        compared: the runs to compare, the baseline first.
        search: the run with the search.
    """

    title: str
    steps: tuple[Step, ...]
    compared: tuple[str, str]
    search: str


def chains(recipe: Recipe) -> list[Chain]:
    """Return what a user can do with the configs, the most promising first."""
    found = [
        Chain(
            "Train a detector, search it for the blocks that it needs, fine-tune both:",
            (Step("baseline"), Step("search", "search"), Step("found"), Step("finetuned")),
            ("finetuned", "found"),
            "search",
        )
    ]
    if recipe.has_channels:
        found.append(
            Chain(
                "Or search dilations of channels, from pretrained weights:",
                (Step("channels"), Step("mixed"), Step("pretrained")),
                ("pretrained", "mixed"),
                "channels",
            )
        )
    if recipe.has_supernet:
        found.append(
            Chain(
                "Or search blocks per stage in a supernet, all from scratch:",
                (
                    Step("supernet"),
                    Step("supernet_search", "search"),
                    Step("searched"),
                    Step("scratch"),
                ),
                ("scratch", "searched"),
                "supernet_search",
            )
        )
    return found
