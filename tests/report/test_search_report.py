import csv
import html.parser

import pytest

from crnas_d2.modeling.families import MobileNetV2Family, ResNetFamily
from crnas_d2.modeling.spaces import JointKind, OperationKind, StageKind
from crnas_d2.report import Page, add_search, write_candidates
from crnas_d2.report.search_report import pareto_front
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
        *("fitness", "bbox/AP", "bbox/AP50", "bbox/APl", "macs", "parameters", "seconds"),
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
    add_search(page, CANDIDATES, SPACE, COSTS, metric="bbox/AP", cost_scope="body, 64x64")
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
    assert str(CANDIDATES[0].genotype) in best and "33.33" in best and "8 G" in best
    assert "3 candidates evaluated, 1 of them failed" in report
    assert "Costs are those of the body, 64x64." in report and "bbox/AP" in report
    assert all(f"<th>{head}</th>" in report for head in ("bbox/AP", "MACs", "parameters"))
    assert str(CANDIDATES[2].genotype) not in report


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
    add_search(page, greedy_candidates, OPERATIONS, costs, metric="bbox/AP", cost_scope="body")
    page.write(tmp_path / "report.html")
    report = (tmp_path / "report.html").read_text()
    best = next(row for row in report.split("<tr") if row.startswith(" class=best"))
    assert "ops=[0, 0, 0, 0]" in best and "0.80" in best
    assert report.count("ops=[") == 2  # partial genotypes are no results
    assert "10 candidates evaluated, 1 of them failed" in report
    assert "bbox/AP of each level of the search" in report


def test_choices_of_a_single_option_have_no_panel(tmp_path):
    family = MobileNetV2Family()
    space = StageKind().build_space(family, Genotype())
    candidates = [Candidate(Genotype(family.baseline_depths()), 1.0, {}, 1.0)]
    page = Page("MobileNetV2")
    add_search(page, candidates, space, costs_of(space), metric="bbox/AP", cost_scope="body")
    assert sum("<img" in part for part in page.parts) == 3


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
    scope = {"metric": "bbox/AP", "cost_scope": "body, 64x64"}
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
    add_search(page, candidates, space, {}, metric="bbox/AP", cost_scope="body")
    assert sum("<img" in part for part in page.parts) == 3
    # Prefixes of a search by a searcher of a user's own.
    prefixes = [Candidate(Genotype((1,), ()), 0.5), Candidate(Genotype((1,), (0,)), 0.75)]
    page = Page("Prefixes")
    best = [candidates[1], *prefixes[::-1]]
    add_search(page, best, space, {}, metric="bbox/AP", cost_scope="body")
    assert "bbox/AP of each level of the search" in "".join(page.parts)
