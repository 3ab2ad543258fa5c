"""What coordinates change in networks other than the reference: under another padding, in another place."""

from dataclasses import replace

from sandbox.report.comparison import Comparison
from sandbox.report.tables import Table, contrast_rows
from sandbox.report.verdicts import with_coordinates


def coordinates_table(c: Comparison) -> Table | None:
    """Every arm with coordinates against the same without, by the primary score, described.

    Beside the reference's own pair, which has a verdict. None where no other arm has its pair with values, or where
    the file declares contrasts itself.
    """
    pairs = [item for item in c.coordinate_contrasts(c.primary) if item.stats.differences]
    if c.combinations or not pairs:
        return None
    without = {with_coordinates(arm): arm for arm in c.arms}
    head, groups = contrast_rows(c, "arms", [replace(item, arm=f"{item.arm} - {without[item.arm]}") for item in pairs])
    note = "No conclusion is drawn from these; p values are not corrected."
    return Table(f"Coordinates in the other arms, described: {c.primary.name}", head, groups, note)
