"""The comparison as a run of its own in TensorBoard: mean and interval of each arm over its seeds, laid side by side.

`tensorboard --logdir runs/<study>/<experiment>` shows every run's curves over each other; its Custom Scalars page then
has one chart a curve and task with a line and a band for each arm.
"""

from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.plugins.custom_scalar import layout_pb2, metadata

from sandbox.comparison import Comparison
from sandbox.plots import Curve, curve, curve_tags
from sandbox.tracking import Events

DT_STRING = 7  # of TensorFlow's DataType
PARTS = ("mean", "low", "high")


def write_board(comparison: Comparison) -> None:
    """Writes the event file into the comparison's folder, in place of an older one."""
    folder = comparison.folder
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("events.out.tfevents.*"):
        old.unlink()
    events = Events(folder)
    for task in comparison.tasks:
        for tag in curve_tags(comparison):
            for arm in comparison.arms:
                found = curve(comparison.of(arm, task), tag)
                if found is not None:
                    _write(events, _stem(task, tag, arm), found)
    events.summary(_layout(comparison))
    events.sync()
    events.close()


def _stem(task: str | None, tag: str, arm: str) -> str:
    return "/".join(["comparison", *([task] if task else []), tag, arm])


def _write(events: Events, stem: str, found: Curve) -> None:
    for i, x in enumerate(found.x):
        values = dict(zip(PARTS, (float(found.mean[i]), float(found.low[i]), float(found.high[i])), strict=True))
        events.scalars({f"{stem}/{part}": value for part, value in values.items() if value == value}, round(float(x)))


def _layout(comparison: Comparison) -> Summary:
    categories = []
    for task in comparison.tasks:
        charts = [_chart(comparison, task, tag, name) for tag, name in curve_tags(comparison).items()]
        title = f"{task or comparison.experiment}: mean and interval over seeds"
        categories.append(layout_pb2.Category(title=title, chart=charts))
    content = layout_pb2.Layout(category=categories).SerializeToString()
    # The plugin's own helper wants TensorFlow; its record is one string tensor.
    value = Summary.Value(tag=metadata.CONFIG_SUMMARY_TAG, metadata=metadata.create_summary_metadata(),
                          tensor=TensorProto(dtype=DT_STRING, string_val=[content]))  # fmt: skip
    return Summary(value=[value])


def _chart(comparison: Comparison, task: str | None, tag: str, name: str) -> layout_pb2.Chart:
    stems = [_stem(task, tag, arm) for arm in comparison.arms if curve(comparison.of(arm, task), tag) is not None]
    if len(comparison.seeds) == 1:  # no interval, and a margin chart without one shows an error
        return layout_pb2.Chart(
            title=name, multiline=layout_pb2.MultilineChartContent(tag=[f"{s}/mean" for s in stems])
        )
    series = [layout_pb2.MarginChartContent.Series(value=f"{s}/mean", lower=f"{s}/low", upper=f"{s}/high")
              for s in stems]  # fmt: skip
    return layout_pb2.Chart(title=name, margin=layout_pb2.MarginChartContent(series=series))
