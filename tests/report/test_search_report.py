import csv
import dataclasses
import html.parser
import math
from random import Random

import pytest

from crnas_d2.evaluation import FitnessNoise
from crnas_d2.modeling.families import MobileNetV2Family, ResNetFamily
from crnas_d2.modeling.spaces import JointKind, OperationKind, StageKind
from crnas_d2.report import Page, add_search
from crnas_d2.report.search_figures import draw_by_choice, draw_distribution
from crnas_d2.report.search_report import describe_noise
from crnas_d2.runs.search_result import Baseline, SearchResult
from crnas_d2.search import Candidate
from crnas_d2.space import AdditiveCost, Genotype

OPTIONS = [(1, 2), (1, 2), (2, 3), (2, 3)]
SPACE = StageKind(OPTIONS).build_space(ResNetFamily(), Genotype())
CANDIDATES = [
    Candidate(Genotype((1, 2, 3, 2)), 100 / 3, {"bbox/AP": 100 / 3, "bbox/AP50": 50.0}, 1.234),
    Candidate(Genotype((2, 2, 2, 2)), 20.5, {"bbox/AP": 20.5, "bbox/APl": 7.0}, 2.0),
    Candidate(Genotype((1, 1, 3, 3)), None, {}, 0.5),
]
STOPPED = Candidate(Genotype((1, 1, 2, 2)), 7.5, {}, 0.1, images=1250)
# The second of three candidates is 13 behind at 20 images, which is not more than their noise.
BEST, OTHER = CANDIDATES[0].genotype, CANDIDATES[1].genotype
NOISE = FitnessNoise(
    best=BEST,
    intervals={BEST: (25.125, 41.5), OTHER: (12.25, 28.75)},
    behind={OTHER: (-27.0, 1.5)},
    num_images=20,
    spread=7.0,
)


def costs_of(space):
    """10^9 MACs for each block; 10^6 parameters for each block of the first stage."""
    depths, first = space.base.depths, space.choices[0].stage

    def additive(name, unit, amount, is_counted, base):
        options = {
            c.name: {o: amount * o * (c.field == "depths" and is_counted(c)) for o in c.options}
            for c in space.choices
        }
        return AdditiveCost(name, unit, space, options, amount * sum(base))

    ours = [
        additive("MACS", "MACs", 10**9, lambda choice: True, depths),
        additive("PARAMETERS", "parameters", 10**6, lambda c: c.stage == first, depths[:1]),
    ]
    return {cost.name: cost for cost in ours}


COSTS = costs_of(SPACE)


def result_of(candidates=CANDIDATES, space=SPACE, costs=COSTS, **settings):
    """A search as it would be read; baseline: a genotype of a published network."""
    if "baseline" in settings:
        settings["baseline"] = Baseline(settings["baseline"], "the published network")
    settings = {"metric": "bbox/AP", "scope": "body, 64x64", **settings}
    return SearchResult(space, candidates, costs, **settings)


def text_of(result):
    page = Page("A search")
    add_search(page, result)
    return "".join(page.parts)


def best_row(report):
    return next(row for row in report.split("<tr") if row.startswith(" class=best"))


def rows_of(result, folder):
    result.write_candidates(folder / "candidates.csv")
    with (folder / "candidates.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_candidates_csv_has_a_line_per_candidate_in_full_precision(tmp_path):
    rows = rows_of(result_of(), tmp_path)
    assert list(rows[0]) == [
        *("res2.depth", "res3.depth", "res4.depth", "res5.depth"),
        *("fitness", "fitness_low", "fitness_high", "bbox/AP", "bbox/AP50", "bbox/APl"),
        *("macs", "parameters", "pareto", "seconds"),
    ]
    assert [row["pareto"] for row in rows] == ["parameters", "", ""]  # all have the same MACs
    for row, candidate in zip(rows, CANDIDATES, strict=True):
        depths = candidate.genotype.depths
        assert tuple(int(row[name]) for name in SPACE.names) == depths
        costs = int(row["macs"]), int(row["parameters"])
        assert costs == (sum(depths) * 10**9, depths[0] * 10**6)
    assert float(rows[0]["fitness"]) == float(rows[0]["bbox/AP"]) == 100 / 3
    assert (rows[0]["bbox/APl"], rows[1]["bbox/AP50"]) == ("", "")
    assert rows[2]["fitness"] == "failed" and rows[2]["bbox/AP"] == ""
    assert [row["seconds"] for row in rows] == ["1.23", "2.00", "0.50"]
    assert all(row["fitness_low"] == row["fitness_high"] == "" for row in rows)
    rows = rows_of(result_of(noise=NOISE), tmp_path)
    bounds = [(row["fitness_low"], row["fitness_high"]) for row in rows]
    assert bounds == [("25.125", "41.5"), ("12.25", "28.75"), ("", "")]


def test_a_search_is_compared_with_what_needs_none():
    text = text_of(result_of(noise=NOISE, rule=OTHER))
    assert (
        "The rule of thumb depths=[2, 2, 2, 2], the network without its last blocks, which needs "
        "no search, has bbox/AP 20.50: 12.83 less (95 % interval of the difference -1.50 to 27.00)"
    ) in text
    same = text_of(result_of(rule=BEST))
    assert "It is the rule of thumb, the network without its last blocks, which needs" in same
    outside = text_of(result_of(rule=Genotype((2, 2, 2, 3))))
    assert "The rule of thumb depths=[2, 2, 2, 3]" in outside
    assert "not among the candidates" in outside


class Links(html.parser.HTMLParser):
    """Collects what a page would load, and its pictures."""

    def __init__(self):
        super().__init__()
        self.loaded, self.pictures = [], []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag == "img":
            self.pictures.append(attributes)
        self.loaded += [attributes[name] for name in ("src", "href") if name in attributes]


def test_the_report_is_one_file_with_its_pictures_inside(tmp_path):
    page = Page("A search & its <results>")
    add_search(page, result_of())
    page.write(tmp_path / "report.html")
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]
    report = (tmp_path / "report.html").read_text(encoding="utf-8")
    links = Links()
    links.feed(report)
    assert len(links.pictures) >= 3
    assert all(link.startswith("data:image/png;base64,") for link in links.loaded)
    assert all(picture["alt"] for picture in links.pictures)
    assert "<results>" not in report and "A search &amp; its &lt;results&gt;" in report


def test_the_report_names_the_best_genotype_the_failures_and_the_scope(figures):
    report = text_of(result_of())
    assert str(BEST) in best_row(report) and "33.33" in best_row(report)
    assert "3 candidates evaluated, 1 of them failed" in report
    assert "Costs are those of the body, 64x64." in report and "bbox/AP" in report
    assert "<th>bbox/AP</th>" in report and "<th>parameters</th>" in report
    # All have the same MACs, which is no column.
    assert "<th>MACs</th>" not in report and "The same for all of them: MACs 8 G." in report
    assert str(CANDIDATES[2].genotype) not in report


def test_the_verdict_says_what_was_found_and_what_noise_it_has(figures):
    report = text_of(result_of(noise=NOISE, baseline=OTHER))
    assert report.startswith('<div class="verdict">')  # it comes first
    verdict = report[: report.index("</div>")]
    for words in (
        f"Found: {BEST}, the best of 2 candidates: bbox/AP 33.33",
        "95 % interval 25.12 to 41.50",
        "Cost: 8 G MACs, 1 M parameters (body, 64x64)",
        "50 % of the parameters of the baseline",
        f"The baseline {OTHER}, the published network, has bbox/AP 20.50",
        "12.83 less (95 % interval of the difference -1.50 to 27.00)",
        "does not exceed the noise of archval",
        "1 of the 1 other candidates cannot be told apart",
        f"includes 0 ({OTHER}).",
        # 20 images * (1.96 * 7 / 1) ** 2
        "3,765 images would tell candidates apart that differ by 1 in bbox/AP",
    ):
        assert words in verdict
    assert f"{OTHER} (baseline)" in report and "<tr class=baseline>" in report


CLEAR = FitnessNoise(BEST, NOISE.intervals, {OTHER: (-20.0, -5.0)}, 20, 3.0)


@pytest.mark.parametrize(
    ("settings", "said", "unsaid"),
    [
        ({}, "is not known here", "baseline"),
        ({}, "is not known here", "<th>95 % interval</th>"),  # no empty column
        ({"baseline": Genotype((9, 9, 9, 9))}, "is not among the candidates", "has bbox/AP"),
        ({"baseline": OTHER}, "Whether that exceeds the noise of archval is not known", "does not"),
        ({"baseline": BEST}, "It is the baseline, the published network.", "has bbox/AP"),
        ({"baseline": OTHER, "noise": CLEAR}, "exceeds the noise of archval", "does not exceed"),
        ({"noise": CLEAR}, "The best one exceeds all 1 others", "cannot be told apart"),
    ],
)
def test_the_verdict_says_no_more_than_is_known(figures, settings, said, unsaid):
    report = text_of(result_of(**settings))
    assert said in report[: report.index("</div>")] and unsaid not in report


def test_candidates_that_were_stopped_early_are_told_from_the_others(figures, tmp_path):
    settings = {"noise": NOISE, "baseline": STOPPED.genotype, "races": True}
    result = result_of([*CANDIDATES[:2], STOPPED], **settings)
    report = text_of(result)
    for words in (
        f"{STOPPED.genotype}, the published network, was stopped after 1,250 images",
        "its bbox/AP is about 7.50, 25.83 less",
        "1 of the 1 other candidates scored on all images cannot be told apart",
        "1 candidate was stopped early by racing",
        "3 candidates evaluated, 1 of them stopped early",
        f"{STOPPED.genotype} (stopped after 1,250 images) (baseline)",
    ):
        assert words in report
    assert "elsewhere" not in report
    racing = "<dt>racing</dt><dd>1 of 3 candidates stopped early"
    few = [*CANDIDATES[:2], dataclasses.replace(STOPPED, images=5)]
    saved = f"{racing}, 45 instead of 60 images (75%)</dd>"
    assert saved in text_of(dataclasses.replace(result, candidates=few))
    assert f"{racing}</dd>" in text_of(dataclasses.replace(result, noise=None))

    rows = rows_of(result, tmp_path)
    assert [row["images"] for row in rows] == ["", "", "1250"]
    assert rows[2]["fitness"] == "7.5" and rows[2]["seconds"] == "0.10"


def test_a_baseline_that_was_stopped_early_has_no_column_of_classes(figures):
    best = Candidate(BEST, 50.0, {"bbox/AP": 50.0, "bbox/AP-cat": 60.0, "bbox/AP-dog": 40.0})
    report = text_of(result_of([best, STOPPED], baseline=STOPPED.genotype))
    assert "<th>class</th><th>best</th></tr>" in report and "nan" not in report


def test_where_all_others_were_stopped_the_verdict_says_so():
    alone = FitnessNoise(BEST, {BEST: (25.0, 41.0)}, {}, 20, math.nan)
    lines = describe_noise(result_of([CANDIDATES[0], STOPPED, STOPPED], noise=alone))
    assert lines[0].startswith("2 candidates were stopped early by racing")


def test_the_classes_have_a_table_the_hardest_first(figures):
    metrics = {"bbox/AP": 5.0, "bbox/AP-cat": 7.25, "bbox/AP-dog": 2.5, "bbox/AP-cow": math.nan}
    text = text_of(result_of([Candidate(BEST, 5.0, metrics)]))
    assert text.index("<td>dog</td><td>2.50</td>") < text.index("<td>cat</td><td>7.25</td>")
    assert "cow" not in text and "The hardest" not in text  # of two classes, one sees it

    many = {f"bbox/AP-{name}": float(ap) for ap, name in enumerate("bcdefg")}
    text = text_of(result_of([Candidate(BEST, 5.0, {"bbox/AP": 5.0, **many})]))
    assert "The hardest: b, c, d; the easiest: g." in text


def ticks_of(figure):
    figure.canvas.draw()
    return [axes.get_xticks() for axes in figure.axes if axes.get_visible()]


@pytest.mark.parametrize("draw", [draw_distribution, draw_by_choice])
def test_whole_numbers_have_whole_ticks_and_colours_a_legend(draw):
    figure = draw(result_of([*CANDIDATES[:2], STOPPED], noise=NOISE, baseline=OTHER))
    assert all(tick == round(tick) for ticks in ticks_of(figure) for tick in ticks)
    legend = (figure.legends or [figure.axes[0].get_legend()])[0]
    named = [text.get_text() for text in legend.texts]
    assert {"best", "baseline", "stopped early (estimate)"} <= set(named)
    assert len(named) == len(set(named))


OPERATIONS = OperationKind().build_space(ResNetFamily(), Genotype((1, 1, 1, 1)))


@pytest.fixture
def greedy():
    """Two levels of partial genotypes, a failure among them, and the complete ones."""
    levels = [(1, (0.5, 0.2, None)), (2, (0.6, 0.4, 0.1)), (3, (0.7, 0.6)), (4, (0.8, 0.75))]
    candidates = [
        Candidate(Genotype((1, 1, 1, 1), (0,) * (level - 1) + (op,)), fitness, {}, 1.0)
        for level, scores in levels
        for op, fitness in enumerate(scores)
    ]
    candidates.sort(key=lambda c: -1 if c.fitness is None else c.fitness, reverse=True)
    return result_of(candidates, OPERATIONS, costs_of(OPERATIONS))


def test_what_a_partial_genotype_leaves_open_is_empty_in_the_csv(tmp_path, greedy):
    rows = {tuple(r[name] for name in OPERATIONS.names): r for r in rows_of(greedy, tmp_path)}
    assert rows["0", "1", "", ""]["fitness"] == "0.4" and rows["0", "1", "", ""]["macs"] == ""
    assert rows["0", "0", "0", "1"]["macs"] == "4000000000"
    assert len(rows) == len(greedy.candidates) == 10


def test_a_search_choice_after_choice_is_shown_by_its_levels(greedy):
    report = text_of(greedy)
    assert "ops=[0, 0, 0, 0]" in best_row(report) and "0.80" in best_row(report)
    assert report.count("ops=[") == 3  # partial genotypes are no results
    assert "10 candidates evaluated, 1 of them failed" in report
    assert "bbox/AP of each level of the search" in report


def test_choices_of_a_single_option_have_no_panel():
    family = MobileNetV2Family()
    space = StageKind().build_space(family, Genotype())
    depths = [family.baseline_depths(), space.sample(Random(0)).depths]
    candidates = [Candidate(Genotype(each), 2.0 - rank) for rank, each in enumerate(depths)]
    figure = draw_by_choice(result_of(candidates, space, {}))
    varied = [choice.name for choice in space.choices if len(choice.options) > 1]
    assert 0 < len(varied) < len(space.choices)
    assert [axes.get_xlabel() for axes in figure.axes if axes.get_visible()] == varied


def test_a_single_candidate_is_shown_without_its_ranks():
    assert text_of(result_of(CANDIDATES[:1])).count("<img") == 1


def test_the_pareto_front_holds_what_nothing_beats():
    depths = [(1, 1, 2, 2), (1, 1, 2, 3), (1, 2, 2, 2), (2, 2, 2, 2), (2, 1, 3, 2), (2, 2, 3, 2)]
    scores = [0.5, 0.4, 0.7, 0.7, 0.6, 0.9]
    candidates = [Candidate(Genotype(d), s) for d, s in zip(depths, scores, strict=True)]

    def cost(candidate):
        return sum(candidate.genotype.depths)

    front = result_of(candidates).pareto_front(lambda genotype: sum(genotype.depths))
    assert front == [candidates[0], candidates[2], candidates[5]]
    for candidate in candidates:  # by the definition
        beaten = any(
            cost(other) <= cost(candidate)
            and other.fitness >= candidate.fitness
            and (cost(other), -other.fitness) != (cost(candidate), -candidate.fitness)
            for other in candidates
        )
        assert beaten == (candidate not in front)


CHEAPER = Candidate(Genotype((1, 1, 2, 2)), 12.5)


@pytest.mark.parametrize(
    ("candidates", "costs", "second", "against"),
    [
        (CANDIDATES, ["MACS"], "", set()),  # all of them have 8 blocks
        (CANDIDATES, [], "", set()),
        (CANDIDATES, ["MACS", "PARAMETERS"], "", {"parameters"}),
        ([*CANDIDATES, CHEAPER], ["MACS", "PARAMETERS"], "", {"MACs", "parameters"}),
        ([*CANDIDATES, CHEAPER], ["MACS", "PARAMETERS"], "PARAMETERS", {"parameters"}),
    ],
)
def test_the_second_objective_or_each_cost_that_differs_has_a_pareto_front(
    candidates, costs, second, against, figures
):
    costs = {name: COSTS[name] for name in costs}
    text = text_of(result_of(candidates, costs=costs, second_objective=second))
    shown = {what for what in figures if " against " in what and "options" not in what}
    assert shown == {f"bbox/AP against {unit}" for unit in against}
    assert ("Pareto front" in text) == bool(against)
    if "MACs" in against:
        front = text[text.index("Pareto front") :]
        assert str(CHEAPER.genotype) in front and str(BEST) in front
        assert str(OTHER) not in front


def test_choices_that_depend_on_others_are_shown_where_they_are_made(tmp_path):
    space = JointKind([(1, 2), (1,), (1,), (1,)]).build_space(ResNetFamily(), Genotype())
    candidates = [
        Candidate(Genotype((2, 1, 1, 1), (0, 2, 1, 0, 0)), 2.0),
        Candidate(Genotype((1, 1, 1, 1), (0, 1, 0, 0)), 1.0),
    ]
    result = result_of(candidates, space, {})
    assert [row["res2.1.op"] for row in rows_of(result, tmp_path)] == ["2", ""]
    assert text_of(result).count("<img") == 3
    # Prefixes of a search by a searcher of a user's own.
    prefixes = [Candidate(Genotype((1,), (0,)), 0.75), Candidate(Genotype((1,), ()), 0.5)]
    result = result_of([candidates[1], *prefixes], space, {})
    assert "bbox/AP of each level of the search" in text_of(result)
