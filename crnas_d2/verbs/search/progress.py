"""How far a search is: a bar on a terminal, a line from time to time in a file."""

import sys
import time
from collections.abc import Sequence

from tqdm import tqdm

from crnas_d2.common.progress import can_redraw
from crnas_d2.search import Candidate

_PERIOD = 60.0  # seconds between two lines in a file


class SearchProgress:
    """Shows how many candidates are done, of a total that may be known, and the best one so far."""

    def __init__(self, total: int | None, done: int):
        self.total, self.text = total, ""
        self.first = self.done = done
        self.start = self.shown = time.monotonic()
        self.bar: tqdm | None = None
        if can_redraw():  # otherwise each state of the bar would be a line of its own
            self.bar = tqdm(
                total=total, initial=done, desc="search", unit="net", dynamic_ncols=True
            )

    def __enter__(self) -> "SearchProgress":
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()
        elif self.done > self.first:
            self._write_line()

    def show(self, done: int, candidates: Sequence[Candidate]) -> None:
        """Show how many candidates count, and all that are evaluated, the best first."""
        scored = [candidate for candidate in candidates if candidate.fitness is not None]
        texts = [f"best {scored[0].fitness:.2f} {scored[0].genotype}"] if scored else []
        if len(candidates) > len(scored):
            texts.append(f"{len(candidates) - len(scored)} failed")
        if stopped := sum(candidate.images is not None for candidate in scored):
            texts.append(f"{stopped} stopped early")
        is_first = self.done == self.first < done
        self.done, self.text = done, ", ".join(texts)
        if self.bar is not None:
            self.bar.set_postfix_str(self.text, refresh=False)
            self.bar.update(done - self.bar.n)
            self.bar.refresh()
        elif is_first or time.monotonic() - self.shown >= _PERIOD:
            self._write_line()

    def _write_line(self) -> None:
        self.shown = time.monotonic()
        rate = (self.done - self.first) / max(self.shown - self.start, 1e-9)
        parts = [f"{self.done}{'' if self.total is None else f'/{self.total}'} networks"]
        if self.total is not None and rate > 0:
            parts.append(f"{tqdm.format_interval((self.total - self.done) / rate)} left")
        print(f"search: {', '.join([*parts, self.text])}", file=sys.stderr, flush=True)
