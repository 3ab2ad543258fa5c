"""The comparison's own runs in TensorBoard: mean and interval of each arm over its seeds, laid over each other.

`tensorboard --logdir runs/<study>/<experiment>` shows every run's curves; ``comparison/<arm>`` beside them is an arm's
mean over its seeds, and the Custom Scalars page has a chart for each curve and task with a line and a band an arm.
"""

import shutil
from pathlib import Path

from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.plugins.custom_scalar import layout_pb2, metadata

from sandbox.report.comparison import Comparison
from sandbox.report.plots import Curve, curve, curve_tags
from sandbox.train.tracking import Events

DT_STRING = 7  # of TensorFlow's DataType
GROUP = "over_seeds"  # TensorBoard groups cards by the first part of a tag; losses come before this one


def write_board(comparison: Comparison) -> None:
    """Writes the event files into the comparison's folder, in place of older ones."""
    folder = comparison.folder
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("**/events.out.tfevents.*"):
        old.unlink()
    for arm in comparison.arms:
        shutil.rmtree(folder / arm, ignore_errors=True)
        _write_arm(comparison, arm, folder / arm)
    events = Events(folder)
    events.summary(_layout(comparison))
    events.sync()
    events.close()


def _write_arm(comparison: Comparison, arm: str, folder: Path) -> None:
    folder.mkdir()
    events = Events(folder)
    for task in comparison.tasks:
        for tag in curve_tags(comparison):
            if found := curve(comparison.of(arm, task), tag):
                _write_curve(events, _stem(task, tag), found)
    events.sync()
    events.close()


def _stem(task: str | None, tag: str) -> str:
    return "/".join([GROUP, *([task] if task else []), tag])


def _write_curve(events: Events, stem: str, found: Curve) -> None:
    for x, mean, low, high in zip(found.x, found.mean, found.low, found.high, strict=True):
        values = {f"{stem}/mean": float(mean), f"{stem}/low": float(low), f"{stem}/high": float(high)}
        # The interval of a single seed is unknown; a chart of margins wants one: its width is zero there.
        events.scalars(
            {tag: value if value == value else float(mean) for tag, value in values.items()}, round(float(x))
        )


def _layout(comparison: Comparison) -> Summary:
    categories = []
    for task in comparison.tasks:
        # The page turns their order round.
        charts = [_chart(_stem(task, tag), name) for tag, name in reversed(curve_tags(comparison).items())]
        title = f"{task or comparison.experiment}: mean and interval over seeds"
        categories.append(layout_pb2.Category(title=title, chart=charts))
    content = layout_pb2.Layout(category=categories).SerializeToString()
    # The plugin's own helper wants TensorFlow; its record is one string tensor.
    value = Summary.Value(tag=metadata.CONFIG_SUMMARY_TAG, metadata=metadata.create_summary_metadata(),
                          tensor=TensorProto(dtype=DT_STRING, string_val=[content]))  # fmt: skip
    return Summary(value=[value])


def _chart(stem: str, name: str) -> layout_pb2.Chart:
    series = layout_pb2.MarginChartContent.Series(value=f"{stem}/mean", lower=f"{stem}/low", upper=f"{stem}/high")
    return layout_pb2.Chart(title=name, margin=layout_pb2.MarginChartContent(series=[series]))
