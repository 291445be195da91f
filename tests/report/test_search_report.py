import csv
import dataclasses
import html.parser
import math
from random import Random

import pytest

from crnas_d2.evaluation import FitnessNoise
from crnas_d2.modeling.families import MobileNetV2Family, ResNetFamily
from crnas_d2.modeling.spaces import JointKind, OperationKind, StageKind
from crnas_d2.report import Page, add_search, write_candidates
from crnas_d2.report.pareto import pareto_front
from crnas_d2.report.provenance import images_looked_at
from crnas_d2.report.search_figures import draw_by_choice, draw_distribution
from crnas_d2.report.search_verdict import describe_noise
from crnas_d2.search import Candidate
from crnas_d2.space import AdditiveCost, Genotype

OPTIONS = [(1, 2), (1, 2), (2, 3), (2, 3)]
SPACE = StageKind(OPTIONS).build_space(ResNetFamily(), Genotype())
CANDIDATES = [
    Candidate(Genotype((1, 2, 3, 2)), 100 / 3, {"bbox/AP": 100 / 3, "bbox/AP50": 50.0}, 1.234),
    Candidate(Genotype((2, 2, 2, 2)), 20.5, {"bbox/AP": 20.5, "bbox/APl": 7.0}, 2.0),
    Candidate(Genotype((1, 1, 3, 3)), None, {}, 0.5),
]


def costs_of(space):
    """10^9 MACs for each block; 10^6 parameters for each block of the first stage."""
    depths, first = space.base.depths, space.choices[0].stage

    def additive(name, unit, of_block, base):
        options = {
            choice.name: {
                option: of_block(choice.stage) * option if choice.field == "depths" else 0
                for option in choice.options
            }
            for choice in space.choices
        }
        return AdditiveCost(name, unit, space, options, base)

    macs = additive("MACS", "MACs", lambda stage: 10**9, sum(depths) * 10**9)
    parameters = additive(
        "PARAMETERS",
        "parameters",
        lambda stage: 10**6 if stage == first else 0,
        sum(depths[:1]) * 10**6,
    )
    return {"MACS": macs, "PARAMETERS": parameters}


COSTS = costs_of(SPACE)


def test_candidates_csv_has_a_line_per_candidate_in_full_precision(tmp_path):
    write_candidates(tmp_path / "candidates.csv", CANDIDATES, SPACE, COSTS)
    with (tmp_path / "candidates.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == [
        *("res2.depth", "res3.depth", "res4.depth", "res5.depth"),
        *(
            "fitness",
            "fitness_low",
            "fitness_high",
            "bbox/AP",
            "bbox/AP50",
            "bbox/APl",
            "macs",
            "parameters",
            "seconds",
        ),
    ]
    for row, candidate in zip(rows, CANDIDATES, strict=True):
        depths = tuple(int(row[name]) for name in SPACE.names)
        assert depths == candidate.genotype.depths
        assert int(row["macs"]) == sum(depths) * 10**9
        assert int(row["parameters"]) == depths[0] * 10**6
    assert float(rows[0]["fitness"]) == float(rows[0]["bbox/AP"]) == 100 / 3
    assert (rows[0]["bbox/APl"], rows[1]["bbox/AP50"]) == ("", "")
    assert rows[2]["fitness"] == "failed" and rows[2]["bbox/AP"] == ""
    assert [row["seconds"] for row in rows] == ["1.23", "2.00", "0.50"]
    assert all(row["fitness_low"] == row["fitness_high"] == "" for row in rows)


# The second of three candidates is 13 behind at 20 images, which is not more than their noise.
BEST, OTHER = CANDIDATES[0].genotype, CANDIDATES[1].genotype
NOISE = FitnessNoise(
    best=BEST,
    intervals={BEST: (25.125, 41.5), OTHER: (12.25, 28.75)},
    behind={OTHER: (-27.0, 1.5)},
    num_images=20,
    spread=7.0,
)


def test_candidates_csv_has_the_intervals_that_are_known(tmp_path):
    write_candidates(tmp_path / "candidates.csv", CANDIDATES, SPACE, COSTS, NOISE)
    with (tmp_path / "candidates.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    bounds = [(row["fitness_low"], row["fitness_high"]) for row in rows]
    assert bounds == [("25.125", "41.5"), ("12.25", "28.75"), ("", "")]


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


@pytest.fixture
def report(tmp_path):
    page = Page("A search & its <results>")
    add_search(page, CANDIDATES, SPACE, COSTS, metric="bbox/AP", scope="body, 64x64")
    page.write(tmp_path / "report.html")
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]
    return (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_report_is_one_file_with_its_pictures_inside(report):
    links = Links()
    links.feed(report)
    assert len(links.pictures) >= 3
    assert all(link.startswith("data:image/png;base64,") for link in links.loaded)
    assert all(picture["alt"] for picture in links.pictures)


def test_the_report_names_the_best_genotype_the_failures_and_the_scope(report):
    rows = report.split("<tr")
    best = next(row for row in rows if row.startswith(" class=best"))
    assert str(CANDIDATES[0].genotype) in best and "33.33" in best
    assert "3 candidates evaluated, 1 of them failed" in report
    assert "Costs are those of the body, 64x64." in report and "bbox/AP" in report
    assert "<th>bbox/AP</th>" in report and "<th>parameters</th>" in report
    # All have the same MACs, which is no column.
    assert "<th>MACs</th>" not in report and "The same for all of them: MACs 8 G." in report
    assert str(CANDIDATES[2].genotype) not in report


def verdict_of(**settings):
    page = Page("Verdict")
    settings = {"metric": "bbox/AP", "scope": "body of 4-8-16-32 channels, 64x64", **settings}
    add_search(page, CANDIDATES, SPACE, COSTS, **settings)
    text = "".join(page.parts)
    # It comes first.
    assert text.startswith('<div class="verdict">')
    return text[: text.index("</div>")], text


@pytest.fixture
def no_figures(monkeypatch):
    """Figures take seconds."""
    monkeypatch.setattr(Page, "figure", lambda page, figure, description: None)


def test_the_verdict_says_what_was_found_and_what_noise_it_has(no_figures):
    verdict, report = verdict_of(noise=NOISE, baseline=(OTHER, "the network of MODEL.WEIGHTS"))
    assert f"Found: {BEST}, the best of 2 candidates: bbox/AP 33.33" in verdict
    assert "95 % interval 25.12 to 41.50" in verdict
    assert "Cost: 8 G MACs, 1 M parameters (body of 4-8-16-32 channels, 64x64)" in verdict
    assert "50 % of the parameters of the baseline" in verdict
    assert f"The baseline {OTHER}, the network of MODEL.WEIGHTS, has bbox/AP 20.50" in verdict
    assert "12.83 less (95 % interval of the difference -1.50 to 27.00)" in verdict
    assert "does not exceed the noise of archval" in verdict
    assert "1 of the 1 other candidates cannot be told apart" in verdict
    assert f"includes 0 ({OTHER})." in verdict
    # 20 images * (1.96 * 7 / 1) ** 2
    assert "3,765 images would tell candidates apart that differ by 1 in bbox/AP" in verdict
    assert f"{OTHER} (baseline)" in report and "<tr class=baseline>" in report


def test_the_verdict_says_what_is_not_known(no_figures):
    verdict, report = verdict_of()
    assert "is not known here" in verdict and "baseline" not in report
    assert "<th>95 % interval</th>" not in report  # no empty column
    verdict, _ = verdict_of(baseline=(Genotype((9, 9, 9, 9)), "the published network"))
    assert "is not among the candidates" in verdict
    verdict, _ = verdict_of(baseline=(OTHER, "the published network"))
    assert "Whether that exceeds the noise of archval is not known" in verdict
    verdict, _ = verdict_of(baseline=(BEST, "the published network"))
    assert "It is the baseline, the published network." in verdict


def test_a_difference_beyond_the_noise_is_called_so(no_figures):
    clear = FitnessNoise(BEST, NOISE.intervals, {OTHER: (-20.0, -5.0)}, 20, 3.0)
    verdict, _ = verdict_of(noise=clear, baseline=(OTHER, "the published network"))
    assert "exceeds the noise of archval" in verdict and "does not exceed" not in verdict
    assert "The best one exceeds all 1 others" in verdict


STOPPED = Candidate(Genotype((1, 1, 2, 2)), 7.5, {}, 0.1, images=1250)


def test_candidates_that_were_stopped_early_are_told_from_the_others(no_figures, tmp_path):
    candidates = [*CANDIDATES[:2], STOPPED]
    page = Page("Race")
    settings = {"metric": "bbox/AP", "scope": "body", "noise": NOISE}
    baseline = (STOPPED.genotype, "the published network")
    add_search(page, candidates, SPACE, COSTS, baseline=baseline, **settings)
    report = "".join(page.parts)
    assert f"{STOPPED.genotype}, the published network, was stopped after 1,250 images" in report
    assert "its bbox/AP is about 7.50, 25.83 less" in report
    assert "1 of the 1 other candidates scored on all images cannot be told apart" in report
    assert "1 candidate was stopped early by racing" in report and "elsewhere" not in report
    assert "3 candidates evaluated, 1 of them stopped early" in report
    assert f"{STOPPED.genotype} (stopped after 1,250 images) (baseline)" in report
    assert images_looked_at([*candidates, *candidates], None) == {
        "racing": "2 of 6 candidates stopped early"
    }
    few = dataclasses.replace(STOPPED, images=5)
    assert images_looked_at([*CANDIDATES[:2], few], NOISE)["racing"] == (
        "1 of 3 candidates stopped early, 45 instead of 60 images (75%)"
    )

    write_candidates(tmp_path / "candidates.csv", candidates, SPACE, COSTS, NOISE)
    with (tmp_path / "candidates.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["images"] for row in rows] == ["", "", "1250"]
    assert rows[2]["fitness"] == "7.5" and rows[2]["seconds"] == "0.10"


def test_a_baseline_that_was_stopped_early_has_no_column_of_classes(no_figures):
    page = Page("Race")
    best = Candidate(BEST, 50.0, {"bbox/AP": 50.0, "bbox/AP-cat": 60.0, "bbox/AP-dog": 40.0})
    baseline = (STOPPED.genotype, "the published network")
    settings = {"metric": "bbox/AP", "scope": "body", "baseline": baseline}
    add_search(page, [best, STOPPED], SPACE, COSTS, **settings)
    report = "".join(page.parts)
    assert "<th>class</th><th>best</th></tr>" in report and "nan" not in report


def test_stopped_candidates_have_a_mark_of_their_own():
    figure = draw_distribution([*CANDIDATES[:2], STOPPED], "bbox/AP", NOISE)
    assert "stopped early (estimate)" in {t.get_text() for t in figure.axes[0].get_legend().texts}


def test_where_all_others_were_stopped_the_verdict_says_so():
    alone = FitnessNoise(BEST, {BEST: (25.0, 41.0)}, {}, 20, math.nan)
    lines = describe_noise([CANDIDATES[0], STOPPED, STOPPED], "bbox/AP", alone)
    assert lines[0].startswith("2 candidates were stopped early by racing")


def test_the_classes_have_a_table_the_hardest_first(no_figures):
    metrics = {"bbox/AP": 5.0, "bbox/AP-cat": 7.25, "bbox/AP-dog": 2.5, "bbox/AP-cow": math.nan}
    page = Page("Classes")
    best = Candidate(BEST, 5.0, metrics)
    add_search(page, [best], SPACE, COSTS, metric="bbox/AP", scope="body")
    text = "".join(page.parts)
    assert text.index("<td>dog</td><td>2.50</td>") < text.index("<td>cat</td><td>7.25</td>")
    assert "cow" not in text


def ticks_of(figure):
    figure.canvas.draw()
    return [axes.get_xticks() for axes in figure.axes if axes.get_visible()]


def test_whole_numbers_have_whole_ticks_and_colours_a_legend():
    scored = CANDIDATES[:2]
    for figure in (
        draw_distribution(scored, "bbox/AP", NOISE, OTHER),
        draw_by_choice(scored, SPACE, "bbox/AP", NOISE, OTHER),
    ):
        assert all(tick == round(tick) for ticks in ticks_of(figure) for tick in ticks)
        legend = (figure.legends or [figure.axes[0].get_legend()])[0]
        named = [text.get_text() for text in legend.texts]
        assert {"best", "baseline"} <= set(named) and len(named) == len(set(named))


def test_text_cannot_break_the_page(report):
    assert "<results>" not in report and "A search &amp; its &lt;results&gt;" in report


OPERATIONS = OperationKind().build_space(ResNetFamily(), Genotype((1, 1, 1, 1)))


@pytest.fixture
def greedy_candidates():
    """Two levels of partial genotypes, a failure among them, and the complete ones."""
    levels = [(1, (0.5, 0.2, None)), (2, (0.6, 0.4, 0.1)), (3, (0.7, 0.6)), (4, (0.8, 0.75))]
    candidates = [
        Candidate(Genotype((1, 1, 1, 1), (0,) * (level - 1) + (op,)), fitness, {}, 1.0)
        for level, scores in levels
        for op, fitness in enumerate(scores)
    ]
    return sorted(candidates, key=lambda c: -1 if c.fitness is None else c.fitness, reverse=True)


def test_what_a_partial_genotype_leaves_open_is_empty_in_the_csv(tmp_path, greedy_candidates):
    write_candidates(
        tmp_path / "candidates.csv", greedy_candidates, OPERATIONS, costs_of(OPERATIONS)
    )
    with (tmp_path / "candidates.csv").open(newline="") as stream:
        rows = {tuple(r[name] for name in OPERATIONS.names): r for r in csv.DictReader(stream)}
    assert rows["0", "1", "", ""]["fitness"] == "0.4" and rows["0", "1", "", ""]["macs"] == ""
    assert rows["0", "0", "0", "1"]["macs"] == "4000000000"
    assert len(rows) == len(greedy_candidates) == 10


def test_a_search_choice_after_choice_is_shown_by_its_levels(tmp_path, greedy_candidates):
    page = Page("Greedy")
    costs = costs_of(OPERATIONS)
    add_search(page, greedy_candidates, OPERATIONS, costs, metric="bbox/AP", scope="body")
    page.write(tmp_path / "report.html")
    report = (tmp_path / "report.html").read_text()
    best = next(row for row in report.split("<tr") if row.startswith(" class=best"))
    assert "ops=[0, 0, 0, 0]" in best and "0.80" in best
    assert report.count("ops=[") == 3  # partial genotypes are no results
    assert "10 candidates evaluated, 1 of them failed" in report
    assert "bbox/AP of each level of the search" in report


def test_choices_of_a_single_option_have_no_panel(tmp_path):
    family = MobileNetV2Family()
    space = StageKind().build_space(family, Genotype())
    depths = [family.baseline_depths(), space.sample(Random(0)).depths]
    candidates = [Candidate(Genotype(each), 2.0 - rank) for rank, each in enumerate(depths)]
    figure = draw_by_choice(candidates, space, "bbox/AP")
    varied = [choice.name for choice in space.choices if len(choice.options) > 1]
    assert 0 < len(varied) < len(space.choices)
    assert [axes.get_xlabel() for axes in figure.axes if axes.get_visible()] == varied


def test_a_single_candidate_is_shown_without_its_ranks():
    page = Page("One")
    add_search(page, CANDIDATES[:1], SPACE, COSTS, metric="bbox/AP", scope="body")
    assert sum("<img" in part for part in page.parts) == 1


def test_the_pareto_front_holds_what_nothing_beats():
    scores = {(1, 1): 0.5, (1, 2): 0.4, (2, 1): 0.7, (2, 2): 0.7, (1, 3): 0.6, (3, 1): 0.9}
    candidates = [Candidate(Genotype(ops=ops), fitness) for ops, fitness in scores.items()]
    front = pareto_front(candidates, lambda genotype: sum(genotype.ops))
    assert [candidate.genotype.ops for candidate in front] == [(1, 1), (2, 1), (3, 1)]
    for candidate in candidates:  # by the definition
        beaten = any(
            sum(other.genotype.ops) <= sum(candidate.genotype.ops)
            and other.fitness >= candidate.fitness
            and other is not candidate
            and (sum(other.genotype.ops), -other.fitness)
            != (sum(candidate.genotype.ops), -candidate.fitness)
            for other in candidates
        )
        assert beaten == (candidate not in front)


def text_of(candidates, names, second_objective=""):
    page = Page("Pareto")
    costs = {name: COSTS[name] for name in names}
    scope = {"metric": "bbox/AP", "scope": "body, 64x64"}
    add_search(page, candidates, SPACE, costs, **scope, second_objective=second_objective)
    return "".join(page.parts)


def test_where_costs_differ_the_report_has_the_pareto_front():
    assert "Pareto front" not in text_of(CANDIDATES, ["MACS"])  # all of them have 8 blocks
    assert "Pareto front" not in text_of(CANDIDATES, [])
    cheaper = Candidate(Genotype((1, 1, 2, 2)), 12.5)
    text = text_of([*CANDIDATES, cheaper], ["MACS", "PARAMETERS"])
    assert "bbox/AP against MACs" in text and "bbox/AP against parameters" in text
    front = text[text.index("Pareto front") :]
    assert str(cheaper.genotype) in front and str(CANDIDATES[0].genotype) in front
    assert str(CANDIDATES[1].genotype) not in front


def test_the_pareto_front_is_of_the_second_objective_or_of_each_cost_that_differs():
    assert "bbox/AP against parameters" in text_of(CANDIDATES, ["MACS", "PARAMETERS"])
    candidates = [*CANDIDATES, Candidate(Genotype((1, 1, 2, 2)), 12.5)]
    text = text_of(candidates, ["MACS", "PARAMETERS"], second_objective="PARAMETERS")
    assert "bbox/AP against parameters" in text and "against MACs" not in text


def test_choices_that_depend_on_others_are_shown_where_they_are_made(tmp_path):
    space = JointKind([(1, 2), (1,), (1,), (1,)]).build_space(ResNetFamily(), Genotype())
    candidates = [
        Candidate(Genotype((2, 1, 1, 1), (0, 2, 1, 0, 0)), 2.0),
        Candidate(Genotype((1, 1, 1, 1), (0, 1, 0, 0)), 1.0),
    ]
    write_candidates(tmp_path / "candidates.csv", candidates, space, {})
    with (tmp_path / "candidates.csv").open(newline="") as stream:
        assert [row["res2.1.op"] for row in csv.DictReader(stream)] == ["2", ""]
    page = Page("Joint")
    add_search(page, candidates, space, {}, metric="bbox/AP", scope="body")
    assert sum("<img" in part for part in page.parts) == 3
    # Prefixes of a search by a searcher of a user's own.
    prefixes = [Candidate(Genotype((1,), ()), 0.5), Candidate(Genotype((1,), (0,)), 0.75)]
    page = Page("Prefixes")
    best = [candidates[1], *prefixes[::-1]]
    add_search(page, best, space, {}, metric="bbox/AP", scope="body")
    assert "bbox/AP of each level of the search" in "".join(page.parts)
