import io
import json
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from shop import curves
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from sandbox.train.tracking import Tracker, checksum, read_metrics

TAGS = ["loss/a", "loss/b", "score/c"]
values = st.dictionaries(st.sampled_from(TAGS), st.floats(-1e3, 1e3, width=32), min_size=1)
actions = st.one_of(values, st.just("mark"), st.just("crash"), st.just("close"), st.just("picture"))


def grey(shade: int) -> np.ndarray[Any, Any]:
    return np.full((3, 2, 3), shade % 256, np.uint8)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(actions, max_size=25))
def test_whatever_happens_no_point_is_doubled_or_lost(
    tmp_path_factory: pytest.TempPathFactory, script: list[dict[str, float] | str]
) -> None:
    """After a crash or a clean end the tracker continues from the last mark, as training does from its checkpoint."""
    folder = tmp_path_factory.mktemp("run")
    tracker, mark = Tracker(folder, {}), {}
    points: list[tuple[int, dict[str, float] | str]] = []  # what must be there
    marked: list[tuple[int, dict[str, float] | str]] = []
    for step, action in enumerate(script):
        if isinstance(action, dict):
            tracker.scalars(action, step)
            points.append((step, action))
        elif action == "picture":
            tracker.picture("samples", grey(step), step)
            points.append((step, action))
        elif action == "mark":
            mark, marked = tracker.mark(), list(points)
        else:
            if action == "close":
                mark, marked = tracker.mark(), list(points)
            tracker.close()
            if action == "crash":  # a kill in the middle of a write
                for path in folder.iterdir():
                    path.write_bytes(path.read_bytes() + b'{"images": 3')
            tracker, points = Tracker(folder, mark), list(marked)
    tracker.close()
    scalars = [(step, point) for step, point in points if isinstance(point, dict)]
    assert read_metrics(folder) == [{"images": step, **point} for step, point in scalars]
    expected = [(tag, step, repr(value)) for step, point in scalars for tag, value in point.items()]
    pictures = [step for step, point in points if point == "picture"]
    found = curves(folder)
    assert [point for point in found if point[0] != "samples"] == sorted(expected)
    assert [step for tag, step, _ in found if tag == "samples"] == pictures


def test_a_new_run_keeps_nothing_of_an_old_one(tmp_path: Path) -> None:
    for value in (1.0, 2.0):
        with Tracker(tmp_path, {}) as tracker:
            tracker.scalars({"loss/a": value}, 8)
    assert read_metrics(tmp_path) == [{"images": 8, "loss/a": 2.0}]
    assert curves(tmp_path) == [("loss/a", 8, "2.0")]


def test_a_tracker_goes_on_in_the_same_file_unless_something_was_cut_off(tmp_path: Path) -> None:
    with Tracker(tmp_path, {}) as tracker:
        tracker.scalars({"loss/a": 1.0}, 8)
        mark = tracker.mark()
    (first,) = tmp_path.glob("events*")
    first = first.rename(tmp_path / "events.out.tfevents.0000000001.elsewhere.1")
    mark = {"metrics.jsonl": mark["metrics.jsonl"], first.name: (first.stat().st_size, zlib.crc32(first.read_bytes()))}
    with Tracker(tmp_path, mark) as tracker:
        tracker.scalars({"loss/a": 2.0}, 16)
    assert list(tmp_path.glob("events*")) == [first]
    with Tracker(tmp_path, mark) as tracker:
        tracker.scalars({"loss/a": 3.0}, 24)
    assert len(list(tmp_path.glob("events*"))) == 2
    assert first.stat().st_size == mark[first.name][0]
    assert curves(tmp_path) == [("loss/a", 8, "1.0"), ("loss/a", 24, "3.0")]


def test_what_is_not_a_number_is_seen_by_eyes_and_left_out_for_programs(tmp_path: Path) -> None:
    with Tracker(tmp_path, {}) as tracker:
        tracker.scalars({"score/a": math.nan, "score/b": math.inf, "score/c": 1.0}, 8)
    assert curves(tmp_path) == [("score/a", 8, "nan"), ("score/b", 8, "inf"), ("score/c", 8, "1.0")]
    for line in (tmp_path / "metrics.jsonl").read_text().splitlines():
        found = json.loads(line, parse_constant=pytest.fail)
        assert found.pop("crc") == zlib.crc32(b'{"images": 8, "score/c": 1.0}')
        assert found == {"images": 8, "score/c": 1.0}


def test_pictures_and_gifs_reach_the_images_tab_pixel_for_pixel(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    with Tracker(tmp_path, {}) as tracker:
        tracker.picture("samples", picture, 4)
        tracker.gif("film", b"GIF89a...", (5, 7), 4)
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    (shown,), (film,) = events.Images("samples"), events.Images("film")
    assert (shown.height, shown.width, shown.step) == (5, 7, 4)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(shown.encoded_image_string))), picture)
    assert film.encoded_image_string == b"GIF89a..."


def test_hparams_are_a_row_of_the_run_itself(tmp_path: Path) -> None:
    with Tracker(tmp_path, {}) as tracker:
        tracker.hparams({"arm": "coord", "steps": 3, "rate": 0.5, "coord": True, "none": None}, {"score/a": 1.0})
        tracker.scalars({"score/a": 1.0}, 8)
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    row = HParamsPluginData.FromString(events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content)
    found = {name: getattr(value, value.WhichOneof("kind")) for name, value in row.session_start_info.hparams.items()}
    assert found == {"arm": "coord", "steps": 3.0, "rate": 0.5, "coord": True, "none": "None"}
    experiment = HParamsPluginData.FromString(events.SummaryMetadata("_hparams_/experiment").plugin_data.content)
    assert [info.name.tag for info in experiment.experiment.metric_infos] == ["score/a"]


@pytest.mark.parametrize("name", ["metrics.jsonl", "events"])
def test_a_changed_byte_before_the_mark_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    with Tracker(tmp_path, {}) as tracker:
        for images in (8, 16):
            tracker.scalars({"loss/a": 1.5}, images)
        mark = tracker.mark()
    (path,) = tmp_path.glob(f"{name}*")
    path.write_bytes(path.read_bytes().replace(b"1.5", b"2.5") if name != "events" else b"?" + path.read_bytes()[1:])
    with Tracker(tmp_path, mark):
        pass
    assert capsys.readouterr().err == (
        f"warning: {path} is not what it was at the last checkpoint: points of its curves are damaged\n"
    )
    if name != "events":
        assert read_metrics(tmp_path) == []
        assert capsys.readouterr().err == f"warning: {path}: 2 damaged lines are left out\n"


def test_curves_of_another_run_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Tracker(tmp_path, {}) as tracker:
        tracker.scalars({"loss/a": 1.0}, 8)
    assert len(read_metrics(tmp_path, checksum(tmp_path))) == 1
    assert capsys.readouterr().err == ""
    assert len(read_metrics(tmp_path, "00c0ffee")) == 1
    assert "is not what was written when this run ended" in capsys.readouterr().err


def test_a_line_that_is_being_written_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"images": 8, "loss/a": 1.0}\n{"images": 16, "lo')
    assert read_metrics(tmp_path) == [{"images": 8, "loss/a": 1.0}]


def test_curves_that_lost_their_end_are_named_and_grow_on_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Tracker(tmp_path, {}) as tracker:
        for images in (8, 16):
            tracker.scalars({"loss/a": 1.0}, images)
        mark = tracker.mark()
    metrics = tmp_path / "metrics.jsonl"
    metrics.write_bytes(metrics.read_bytes()[:-5])
    with Tracker(tmp_path, mark) as tracker:
        tracker.scalars({"loss/a": 2.0}, 24)
    assert [point["images"] for point in read_metrics(tmp_path)] == [8, 24]
    assert capsys.readouterr().err.startswith(f"warning: {metrics} is shorter than")
