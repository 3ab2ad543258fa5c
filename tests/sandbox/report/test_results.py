"""The pages of results are what their sources say, and their sources agree with one another."""

import csv
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import browser
import numpy as np
import pytest
from shop import CHECKOUT, WORKSHOP, Said

from sandbox.base.errors import UserError
from sandbox.cli.compare import main as compare
from sandbox.cli.results import main
from sandbox.experiment.exported import read_exported
from sandbox.experiment.spec import study_spec
from sandbox.report.placeholders import Figure, fill
from sandbox.report.results import BEGIN, END, PAGES, build, stale
from sandbox.report.sources import read_sources, work_out

TOY = str(WORKSHOP / "toy.yaml")
TEXT = "# A toy\n\nIs it near?\n\n## Found\n\nNear by {{ coord.error.mean | to(4) }}.\n\n## Not measured\n\nThe rest.\n"
RESULT = "{{ coord.verdict }}, {{ conv.error.mean | to(3) }}"
INDEX = f'claims:\n- {{claim: near, of: toy, result: "{RESULT}", film: [interpolation.gif, F]}}\n'
TREE = {
    "coord": {"valid": {"mean": Figure(0.5823, 3), "n": Figure(8), "p": Figure(0.02, kind="p")}, "verdict": "worse"}
}
pytestmark = pytest.mark.usefixtures("toy")


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    """Those of this checkout."""
    return build(CHECKOUT)


def test_the_committed_pages_are_what_the_sources_say(pages: dict[str, str]) -> None:
    assert stale(CHECKOUT, pages) == [], "make results writes them"
    assert len(pages) >= 10


def test_every_link_of_a_page_leads_somewhere_and_none_of_the_offline_page_leads_out(
    pages: dict[str, str],
) -> None:
    for name, text in pages.items():
        folder = (CHECKOUT / name).parent
        links = re.findall(r"\]\(([^)#]+)[^)]*\)|(?:src|href)=\"([^\"#]+)[^\"]*\"", text)
        for link in (first or second for first, second in links):
            if not link.startswith(("https:", "data:")):
                assert (folder / link).exists(), f"{name}: {link}"
            assert not name.endswith(".html") or not link.startswith("http"), "an address outside"


NAMES = sorted(path.parent.name for path in CHECKOUT.glob("results/*/comparison.json"))


@pytest.mark.parametrize("name", [name for name in NAMES if (CHECKOUT / "results" / name / "runs").is_dir()])
def test_a_kept_comparison_was_judged_by_the_margins_that_are_declared(name: str) -> None:
    sources, c, _ = read_sources(CHECKOUT / "results" / name)
    for task in c.tasks:
        place = (CHECKOUT / "results" / name / "runs").joinpath(*([task] if task else []), c.reference)
        run, found = read_exported(min(place.glob("*.json")))
        spec = study_spec(sources.study)
        declared = spec.scores_of(run.config)[0]
        margin, recorded = declared.margin_of(run.config), c.margin(task)
        assert (declared.tag, declared.best, declared.worst) == (c.primary.tag, c.primary.best, c.primary.worst)
        if not sources.variants:
            assert (margin and (margin.value, margin.fresh_from)) == (
                recorded and (recorded.value, recorded.fresh_from))  # fmt: skip
        for row in c.rows:
            if row.cell.task == task and row.cell.arm == c.reference and row.cell.seed == run.config.seed:
                assert c.failing(row) == spec.failed(run.config, found.result.scores)


def test_what_was_typed_says_so_on_its_page() -> None:
    typed = {name: text for name in NAMES if (text := read_sources(CHECKOUT / "results" / name)[0].transcribed)}
    assert len(typed) > 3
    for name, text in typed.items():
        assert f"Typed from {text}." in (CHECKOUT / PAGES / f"{name}.md").read_text(), name


def test_figures_of_the_pages_are_those_of_the_tables_of_runs() -> None:
    """Worked out here, from scores.csv alone."""
    wanted = {"gan_sort_of_clevr": "score/valid", "vae_sort_of_clevr": "score/position_error",
              "gan_rooms": "score/room_kid", "rl_mspacman": "score/return"}  # fmt: skip
    for name, tag in wanted.items():
        with (CHECKOUT / "results" / name / "scores.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        page = (CHECKOUT / PAGES / f"{name}.md").read_text()
        for arm in ("conv", "coord"):
            values = [float(row[tag]) for row in rows if row["arm"] == arm]
            found = re.search(rf"^\| {arm} \| ([\d.]+) \| ([\d.]+) \| .* \| {len(values)} \|", page, re.MULTILINE)
            assert found, (name, arm)
            digits = len(found[1].partition(".")[2])
            assert found[1] == f"{np.mean(values):.{digits}f}"
            assert found[2] == f"{np.std(values, ddof=1):.{digits}f}"


@pytest.fixture(scope="module")
def made(compared: tuple[Path, Said], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with one comparison."""
    root = tmp_path_factory.mktemp("checkout")
    shutil.copytree(compared[0].parents[1], root / "runs")
    compare([TOY, "--root", str(root / "runs"), "--report-only", "--export", str(root / "results/toy")])
    shutil.rmtree(root / "runs")
    (root / "results/toy/text.md").write_text(TEXT)
    (root / "results/index.yaml").write_text(INDEX)
    (root / "README.md").write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    assert len(main(["--root", str(root)])) == 4
    return root


@pytest.fixture
def checkout(made: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may change."""
    return Path(shutil.copytree(made, tmp_path / "checkout"))


def errors(root: Path, arm: str) -> list[str]:
    """The scores of an arm's runs as they are written; Intel and AMD differ, for they drop out other units."""
    with (root / "results/toy/scores.csv").open(newline="") as file:
        return [row["score/error"] for row in csv.DictReader(file) if row["arm"] == arm]


def mean(root: Path, arm: str, digits: int) -> str:
    return f"{np.mean([float(value) for value in errors(root, arm)]):.{digits}f}"


def test_again_nothing_changes_and_what_is_edited_or_gone_is_told(checkout: Path) -> None:
    assert main(["--root", str(checkout), "--check"]) == []
    readme = (checkout / "README.md").read_text()
    assert readme.startswith("before\n")
    assert readme.endswith("\nafter\n")
    assert f"| [near](docs/results/toy.md) | 2 | inconclusive, {mean(checkout, 'conv', 3)} | - |" in readme
    near = f"Near by {mean(checkout, 'coord', 4)}."
    assert near in (checkout / PAGES / "toy.md").read_text()
    page = checkout / PAGES / "toy.md"
    page.write_text(page.read_text().replace(near, "Near by 0.0001."))
    (checkout / PAGES / "gone.md").write_text("of a comparison that is no more")
    with pytest.raises(UserError, match=r"docs/results/gone\.md, docs/results/toy\.md; make results writes them"):
        main(["--root", str(checkout), "--check"])
    assert main(["--root", str(checkout)]) == ["docs/results/gone.md", "docs/results/toy.md"]
    assert main(["--root", str(checkout), "--check"]) == []


def test_a_text_about_several_comparisons_is_a_page_of_docs(checkout: Path) -> None:
    (checkout / "results/help.md").write_text(
        "# Help\n\nIt is {{ toy.coord.verdict }}: {{ toy.conv.error.mean | to(3) }}.\n"
    )
    assert main(["--root", str(checkout)]) == ["docs/help.md"]
    page = checkout / "docs/help.md"
    assert page.read_text().endswith(f"# Help\n\nIt is inconclusive: {mean(checkout, 'conv', 3)}.\n")
    page.write_text("typed by hand")
    with pytest.raises(UserError, match=r"docs/help\.md; make results writes them"):
        main(["--root", str(checkout), "--check"])
    (checkout / "results/help.md").write_text("{{ tay.coord.verdict }}")
    with pytest.raises(UserError, match=r"results/help\.md: unknown placeholder tay: .*; did you mean 'toy'\?"):
        build(checkout)


def replaced(name: str, old: str, new: str) -> Callable[[Path], None]:
    def change(results: Path) -> None:
        text = (results / name).read_text()
        assert old in text
        (results / name).write_text(text.replace(old, new, 1))

    return change


def mistyped(results: Path) -> None:
    """One score in scores.csv is another."""
    replaced("toy/scores.csv", errors(results.parent, "conv")[0], "0.9655")(results)


def infinite(results: Path) -> None:
    """One score in scores.csv is none."""
    replaced("toy/scores.csv", errors(results.parent, "conv")[0], "inf")(results)


def doubled(results: Path) -> None:
    """The last row of scores.csv stands there twice."""
    with (results / "toy/scores.csv").open("a+") as file:
        file.seek(0)
        file.write(file.readlines()[-1])


def costlier(results: Path) -> None:
    """A run in scores.csv took longer than its file says; figures and verdicts follow the table."""
    with (results / "toy/scores.csv").open() as file:
        seconds = next(csv.DictReader(file))["seconds"]
    replaced("toy/scores.csv", f",{seconds},", ",99.5,")(results)
    work_out(results / "toy")


def removed(name: str) -> Callable[[Path], None]:
    return lambda results: (results / name).unlink()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (mistyped, "is not what scores.csv gives: conv.error.mean"),
        (infinite, "no table of runs (score/error of conv, seed 0 is no finite number)"),
        (replaced("toy/scores.csv", "conv,0", "conv,9"), "have different runs: conv, seed 0"),
        (replaced("toy/scores.csv", "complete", "done"), "scores.csv is no table of runs"),
        (doubled, "scores.csv has coord, seed 1 twice"),
        (costlier, "seed-0.json is not what scores.csv says: seconds"),
        (replaced("toy/comparison.json", '"budget": "steps"', '"budget": "macs"'), "its checksum differs"),
        (replaced("toy/scores.svg", "<svg", "<!-- --><svg"), "pictures are not those of comparison.json: scores.svg"),
        (removed("toy/curves.svg"), "its pictures are not those of comparison.json: curves.svg"),
        (removed("toy/runs/conv/seed-1.json"), "seed-1.json is not there, but scores.csv has its run"),
        (removed("toy/text.md"), "text.md is not there"),
        (lambda r: shutil.copy(r / "toy/runs/conv/seed-1.json", r / "toy/runs/conv/seed-2.json"),
         "seed-2.json is no run of scores.csv"),
        (lambda r: shutil.copy(r / "toy/runs/conv/seed-1.json", r / "toy/runs/conv/seed-0.json"),
         "seed-0.json is not what scores.csv says: score/error"),
        (replaced("toy/text.md", "coord.error", "coord.eror"), "toy/text.md: unknown placeholder coord.eror"),
        (replaced("toy/text.md", "## Not", "## Never"), "a section '## Not measured'"),
        (replaced("index.yaml", "of: toy", "of: tay"), "no comparison 'tay': there are toy; did you mean 'toy'?"),
        (replaced("index.yaml", "interpolation.gif", "interpolations.gif"), "did you mean 'interpolation.gif'?"),
        (replaced("index.yaml", "claim:", "clam:"), "index.yaml: claims.0.claim: Field required"),
    ],
)  # fmt: skip
def test_sources_that_disagree_are_one_line(checkout: Path, change: Callable[[Path], None], said: str) -> None:
    change(checkout / "results")
    with pytest.raises(UserError) as error:
        build(checkout)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_working_out_again_follows_the_table(checkout: Path) -> None:
    shutil.rmtree(checkout / "results/toy/runs")  # an older comparison, whose runs are not kept
    mistyped(checkout / "results")
    main(["--root", str(checkout), "--work-out", str(checkout / "results/toy")])
    assert f"inconclusive, {mean(checkout, 'conv', 3)}" in (checkout / "README.md").read_text()
    assert main(["--root", str(checkout), "--check"]) == []


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("{{ coord.valid.mean }}", "0.582"),
        ("{{ coord.valid.mean | to(2) }}", "0.58"),
        ("{{ coord.valid.mean | percent(1) }}", "58.2 %"),
        ("{{ at['coord'].valid.n }} p {{ coord.valid.p }} {{ coord.verdict }}", "8 p .02 worse"),
    ],
)
def test_placeholders_are_filled(text: str, filled: str) -> None:
    assert fill(text, TREE, "text.md") == filled


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{{ cord.valid.mean }}", "unknown placeholder cord: there are coord, at; did you mean 'coord'?"),
        (
            "{{ coord.valid.men }}",
            "unknown placeholder coord.valid.men: coord.valid has mean, n, p; did you mean 'mean'?",
        ),
        ("{{ coord.valid }}", "the placeholder coord.valid is no figure: it has mean, n, p"),
        ("{{ coord.verdict | to(2) }}", "go with a figure"),
        ("{{ coord.valid.mean | to('x') }}", "take 0 to 12 decimals"),
        ("{{ coord.valid.mean", "unexpected end of template"),
        ("{{ coord.valid.mean | tos(2) }}", "No filter named 'tos'"),
        ("{{ coord.valid.mean | to }}", "'digits'"),
        ("{{ coord.valid.mean * 100 }}", "unsupported operand"),
        ("{{ 1 / 0 }}", "division by zero"),
    ],
)
def test_a_slip_in_a_text_is_one_line(text: str, said: str) -> None:
    with pytest.raises(UserError) as error:
        fill(text, TREE, "results/x/text.md")
    assert str(error.value).startswith("results/x/text.md: ")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.skipif(browser.CHROMIUM is None, reason="no Chromium")
def test_the_overview_opens_offline_and_sorts(tmp_path: Path) -> None:
    text = (CHECKOUT / PAGES / "index.html").read_text()
    clicks = "<script>for (let k = 0; k < 2; k++) document.querySelectorAll('#claims thead button')[1].click()</script>"
    (tmp_path / "docs/results").mkdir(parents=True)
    (tmp_path / "results").symlink_to(CHECKOUT / "results")
    page = tmp_path / "docs/results/index.html"
    page.write_text(text.replace("</body>", f"{clicks}</body>"))
    seen = browser.screenshot(page.as_uri(), tmp_path)
    assert (seen.console, seen.requests) == ([], [])
    assert 'aria-sort="descending"' in seen.dom
    table = seen.dom.partition("<tbody>")[2].partition("</tbody>")[0]
    seeds = [cell for cell in re.findall(r"</th><td>([^<]*)</td>", table) if cell != "-"]
    assert len(seeds) > 5
    assert [int(cell) for cell in seeds] == sorted(map(int, seeds), reverse=True)
