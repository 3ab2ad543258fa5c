"""Pages of results from their sources: docs/results/, and README's table.

    results/index.yaml          the claims, a row of the overview each, in order; published figures beside ours
    results/<comparison>/       see `sandbox.report.sources`; a folder for each page
    results/<page>.md           a text about several comparisons, docs/<page>.md: ``{{ <comparison>.coord.verdict }}``

``text.md`` is its page's text: the title, the question, then sections, of which one says what was not measured. Its
figures are placeholders (`sandbox.report.placeholders`), ``{{ picture("samples.png", "caption") }}`` shows a picture.
"""

from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sandbox.base.errors import UserError, listed, nearest, one_line
from sandbox.base.reading import Unreadable, read_text, required
from sandbox.experiment.document import read_document
from sandbox.report import tables
from sandbox.report.combined import combined_table
from sandbox.report.comparison import Comparison
from sandbox.report.coordinates import coordinates_table
from sandbox.report.page import captions, missing_runs, render, warnings
from sandbox.report.placeholders import Tree, fill
from sandbox.report.sources import Sources, read_sources
from sandbox.report.sweep_report import spread_table
from sandbox.report.tables import Group, Table

PAGES = "docs/results"
BEGIN, END = "<!-- results: made by `make results`, edit results/ -->", "<!-- end of results -->"
HEAD = ("claim", "seeds", "result", "published")
_NOTE = "Rows marked * are typed by hand, their runs are not kept; the others are filled in from their runs' scores."
_ALT = {"scores": "Every seed", "tasks": "Over tasks", "curves": "Learning curves", "sweep": "Every run of the sweep"}
_UNMEASURED = "## Not measured"


class Claim(BaseModel):
    """A row of the overview.

    Attributes:
        claim: in a few words.
        of: the comparison that it is a result of; None: typed by hand.
        result: with placeholders.
        seeds: filled in where it is None; of what was not measured, there is no number.
        published: what others say.
        page: of one that is typed by hand, below docs/.
        film: of the comparison, shown on the HTML page, and what stands below it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)
    claim: str
    of: str | None = None
    result: str
    seeds: str | None = None
    published: str = "-"
    page: str | None = None
    film: tuple[str, str] | None = None


class Published(BaseModel):
    """A published figure and ours beside it, with placeholders."""

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)
    what: str
    theirs: str
    ours: str


class Index(BaseModel):
    """What results/index.yaml holds; ``published``: by comparison."""

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)
    claims: list[Claim] = Field(min_length=1)
    published: dict[str, list[Published]] = Field(default_factory=dict)


def build(root: Path) -> dict[str, str]:
    """Every page, by its path below the checkout ``root``, README among them.

    Raises:
        UserError: a source is missing or damaged, disagrees with another, or a placeholder is unknown; in one line.
    """
    index = _index(root / "results/index.yaml")
    names = sorted(path.parent.name for path in root.glob("results/*/comparison.json"))
    known = {name: read_sources(root / "results" / name) for name in names}
    figures = {name: found for name, (_, _, found) in known.items()}
    for name in (*(claim.of for claim in index.claims if claim.of), *index.published):
        if name not in known:
            raise UserError(
                f"results/index.yaml: no comparison {name!r}: there are {listed(names)}{nearest(name, names)}"
            )
    pages = {f"{PAGES}/{name}.md": _page(root / "results" / name, s, c, found, index.published.get(name, []))
             for name, (s, c, found) in known.items()}  # fmt: skip
    pages |= {f"docs/{path.name}": _about_several(path, figures) for path in sorted((root / "results").glob("*.md"))}
    rows = [_claim(claim, figures.get(claim.of or "", {}), known[claim.of][1] if claim.of else None)
            for claim in index.claims]  # fmt: skip
    films = [{"link": f"../../results/{claim.of}/{_there(root / 'results' / claim.of, claim.film[0])}",
              "caption": claim.film[1]} for claim in index.claims if claim.of and claim.film]  # fmt: skip
    pages[f"{PAGES}/README.md"] = render("overview.md.jinja", {"claims": _markdown(rows, ""), "note": _NOTE})
    pages[f"{PAGES}/index.html"] = render("overview.html.jinja", {
        "title": "Results", "subtitle": "Every claim with its verdict, seeds and published figure", "head": HEAD,
        "rows": rows, "films": films, "note": _NOTE})  # fmt: skip
    pages["README.md"] = _between_markers(root / "README.md", f"{_markdown(rows, f'{PAGES}/')}\n{_NOTE}")
    return pages


def stale(root: Path, pages: Mapping[str, str]) -> list[str]:
    """Paths of pages that are not what their sources say, or that no source makes any more."""
    there = {path.relative_to(root).as_posix() for path in (root / PAGES).glob("*.*")}
    differ = {name for name, text in pages.items() if _content(root / name) != text}
    return sorted(differ | (there - pages.keys()))


def _content(path: Path) -> str | None:
    try:
        return read_text(path)
    except Unreadable:
        return None


def _index(path: Path) -> Index:
    try:
        return Index.model_validate(read_document(path, "claims, published"))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise UserError(f"{path}: {'.'.join(map(str, first['loc']))}: {one_line(first['msg'], 120)}") from None


def _there(folder: Path, name: str) -> str:
    pictures = [path.name for path in folder.iterdir() if path.suffix in (".svg", ".png", ".gif")]
    if name not in pictures:
        raise UserError(
            f"{folder} has no picture {name!r}: there are {listed(sorted(pictures))}{nearest(name, pictures)}"
        )
    return name


def _claim(claim: Claim, figures: Tree, c: Comparison | None) -> dict[str, str]:
    place = f"results/index.yaml ({claim.claim})"
    link = f"../{claim.page or 'results.md'}" if c is None else f"{claim.of}.md"
    seeds, typed = claim.seeds or (_seeds(c) if c else "-"), c is None and claim.seeds is not None
    return {"claim": claim.claim, "seeds": seeds, "published": claim.published, "link": link,
            "result": f"{fill(claim.result, figures, place)}{' *' if typed else ''}"}  # fmt: skip


def _seeds(c: Comparison) -> str:
    """How many seeds have a primary score in every arm of a task: one number, or the least and the most."""
    found = [len(c.summary(c.primary, arm, task).values) for arm in c.arms for task in c.tasks]
    return str(min(found)) if min(found) == max(found) else f"{min(found)} to {max(found)}"


def _markdown(rows: list[dict[str, str]], above: str) -> str:
    lines = [f"| {' | '.join(HEAD)} |", "|---|---|---|---|"]
    for row in rows:
        link = f"{above}{row['link']}".replace("docs/results/../", "docs/")
        lines.append(f"| [{row['claim']}]({link}) | {row['seeds']} | {row['result']} | {row['published']} |")
    return "\n".join(lines) + "\n"


def _between_markers(path: Path, content: str) -> str:
    with required():
        before, begin, rest = read_text(path).partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise UserError(f"{path} has no place for the table: a line {BEGIN!r}, and after it one {END!r}")
    return f"{before}{BEGIN}\n\n{content}\n\n{END}{after}"


def _page(folder: Path, s: Sources, c: Comparison, figures: Tree, published: list[Published]) -> str:
    name, link = folder.name, f"../../results/{folder.name}"
    place = f"results/{name}/text.md"

    def picture(file: str, caption: str) -> str:
        return f"![{caption}]({link}/{_there(folder, file)})\n\n*{caption}*"

    with required("it holds the title, the question and what was not measured"):
        written = read_text(folder / "text.md")
    head, _, rest = fill(written, figures, place, picture=picture).partition("\n## ")
    title, _, question = head.partition("\n")
    if not title.startswith("# ") or not question.strip() or f"\n{_UNMEASURED}" not in written:
        raise UserError(f"{place} must hold a title (# ...), a question below it and a section {_UNMEASURED!r}")
    beside = [(p.what, p.theirs, fill(p.ours, figures, f"results/index.yaml ({name})")) for p in published]
    return render("result.md.jinja", {
        "place": f"results/{name}", "title": title.removeprefix("# "), "question": question.strip(), "link": link,
        "conclusions": s.conclusions, "warnings": _warned(c, s),
        "tables": [*_tables(c, s), *([_beside(beside)] if beside else [])],
        "pictures": [{"link": f"{link}/{kind}.svg", "alt": _ALT[kind], "caption": _caption(c, s, kind)}
                     for kind in _ALT if f"{kind}.svg" in s.files],
        "text": f"## {rest.strip()}\n", "command": s.command, "made_with": _made_with(c, s),
        "costs": None if s.variants else tables.costs_table(c), "runs": (folder / "runs").is_dir(),
    })  # fmt: skip


def _about_several(path: Path, figures: Tree) -> str:
    """The page whose text is ``path``; the figures of every comparison stand below its name."""
    place = f"results/{path.name}"
    with required():
        written = read_text(path)
    return f"<!-- Made by `make results` from {place}: edit there. -->\n{fill(written, figures, place)}"


def _beside(rows: list[tuple[str, str, str]]) -> Table:
    return Table("Published figures beside ours", ("", "published", "here"), [Group(rows)], words=True)


def _warned(c: Comparison, s: Sources) -> list[str]:
    return missing_runs(c) if s.variants else warnings(c, c.primary_contrasts())


def _tables(c: Comparison, s: Sources) -> list[Table]:
    if s.variants:
        return [spread_table(c, s.variants)]
    contrasts = c.contrasts()
    primary = c.primary_contrasts()
    found = (tables.primary_table(c), combined_table(c), tables.contrast_table(c, primary), coordinates_table(c),
             tables.over_tasks_table(c), tables.others_table(c, contrasts))  # fmt: skip
    return [table for table in found if table is not None]


def _caption(c: Comparison, s: Sources, kind: str) -> str:
    if kind == "sweep":
        return f"{c.primary.name} of every run against its value on the training data, parameters and seconds."
    kept = " Drawn when the runs were made; their curves are not kept." if s.transcribed and kind == "curves" else ""
    return f"{captions(c)[kind]}{kept}"


def _made_with(c: Comparison, s: Sources) -> Table:
    costs = tables.costs_of(row for row in c.rows if row.state == "complete")
    budget = {"steps": "equal steps", "macs": "equal multiply-adds", "none": "steps not equal"}[c.budget]
    spent = f"{costs.get('steps', 0):,.0f} steps, {costs.get('images', 0):,.0f} {c.captions.counted} a run"
    rows = [("budget", f"{budget}; {spent}{' on average' if c.budget != 'steps' else ''}"), *s.made_with.items()]
    counted = " Multiply-adds are as counted then; those of coordinates are fewer as counted today."
    note = f"Typed from {s.transcribed}.{counted if 'multiply' in ' '.join(costs) else ''}" if s.transcribed else ""
    return Table("Machine, versions, budget", ("what", "value"), [Group(rows)], note, words=True)
