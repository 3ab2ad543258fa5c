"""Where a film goes and in which format: decided, and refused, before anything is rendered."""

import io
import os
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from shop import Said, Workshop

import sandbox.cli.video
from sandbox.base.errors import UserError
from sandbox.cli.video import film_of_runs, main
from sandbox.film.encode import encode_gif, encode_mp4


@pytest.fixture(scope="module")
def run(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A complete run of the toy study, which is only read: every film goes elsewhere."""
    root = tmp_path_factory.mktemp("filmed")
    command = workshop.toy("--root", root, "--coord")
    assert command.wait() == 0, command.stderr
    return str(root / "toy/toy/coord/seed-0")


@pytest.fixture
def unrendered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rendering is a failure."""

    def rendered(*_: object, **__: object) -> None:
        raise AssertionError("rendered before the mistake was said")

    monkeypatch.setattr(sandbox.cli.video, "film_of_runs", rendered)


@pytest.mark.parametrize(
    ("name", "flags", "kind"),
    [("film.gif", (), "GIF"), ("film.mp4", (), "MP4"), ("FILM.GIF", ("--format", "gif"), "GIF"),
     ("film.Mp4", (), "MP4"), ("a.gif.mp4", ("--format", "mp4"), "MP4")],
)  # fmt: skip
def test_the_name_s_ending_decides_the_format(
    run: str, tmp_path: Path, name: str, flags: tuple[str, ...], kind: str
) -> None:
    output = tmp_path / name
    main([run, "--device", "cpu", "--frames", "2", "--output", str(output), *flags])
    content = output.read_bytes()
    assert ("GIF" if content.startswith(b"GIF89a") else "MP4" if content[4:8] == b"ftyp" else "?") == kind
    assert list(tmp_path.iterdir()) == [output]


@pytest.mark.parametrize(
    ("name", "flags", "line"),
    [
        ("film.mp4", ("--format", "gif"), "ends in .mp4, but --format is gif: leave one of the two out"),
        ("film.gif", ("--format", "mp4"), "ends in .gif, but --format is mp4"),
        ("film.avi", (), "a film's name ends in .gif or .mp4"),
        ("film.avi", ("--format", "mp4"), "a film's name ends in .gif or .mp4"),
        ("film", (), "a film's name ends in .gif or .mp4"),
        (".gif", (), "a film's name ends in .gif or .mp4"),
        ("", (), "a film's name ends in .gif or .mp4"),
        ("folder.gif/", (), "is a folder: name a file in it"),
        ("folder.gif", (), "is a folder: name a file in it"),
        ("none/film.gif", (), "none is not there"),
        ("file.txt/film.gif", (), "file.txt is a file"),
        ("pipe.gif", (), "is no file that can be replaced"),
        ("x" * 300 + ".gif", (), "cannot be written (File name too long)"),
        ("x" * 251 + ".gif", (), "cannot be written (File name too long)"),  # it fits, what is written first does not
    ],
)
@pytest.mark.usefixtures("unrendered")
def test_a_place_that_cannot_be_is_said_before_anything_is_rendered(
    run: str, tmp_path: Path, name: str, flags: tuple[str, ...], line: str
) -> None:
    (tmp_path / "folder.gif").mkdir()
    (tmp_path / "file.txt").touch()
    os.mkfifo(tmp_path / "pipe.gif")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError) as refused:
        main([run, "--device", "cpu", "--output", f"{tmp_path}/{name}", *flags])
    assert line in str(refused.value)
    assert str(refused.value).startswith("--output")
    assert "\n" not in str(refused.value)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.usefixtures("unrendered")
def test_a_folder_that_must_not_be_written_is_said(run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path, **_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "touch", refused)  # root may write everywhere
    with pytest.raises(UserError, match=r"--output .*film.gif cannot be written \(Permission denied\): choose another"):
        main([run, "--output", str(tmp_path / "film.gif")])
    with pytest.raises(UserError, match=r"--output .*samples/loop-0.gif cannot be written"):  # the default one
        main([run])


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (("nowhere",), "nowhere is no run folder"),
        (("",), ""),
        (("--frames", "1"), "'1' is not a whole number from 2 to 2000"),
        (("--fps", "0"), "'0' is not a whole number from 1 to 60"),
        (("--grid", "0x1"), "--grid is '0x1'"),
        (("--grid", ""), "--grid is ''"),
        (("--grid", "9" * 5000 + "x1"), "--grid is '999"),
        (("--grid", "1x1x1"), "--grid is '1x1x1'"),
        (("--format", "mp3"), "'mp3' is not one of gif, mp4; did you mean 'mp4'?"),
        (("--seed", "-1"), "'-1' is not a whole number"),
        (("--path", "lop"), "did you mean 'loop'?"),
        (("--device", "tpu"), "'tpu' is not one of"),
        (("--from", "1"), "--from and --to go together"),
        (("--from", "1", "--to", "none.png"), "none.png"),
        (("--from", "1", "--to", ""), "image ''"),
        (("--oputput", "film.gif"), "did you mean '--output'?"),
    ],
)
@pytest.mark.usefixtures("unrendered")
def test_every_mistake_is_one_line(run: str, flags: tuple[str, ...], line: str) -> None:
    with pytest.raises(UserError) as refused:
        main([run, *flags])
    assert line in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_run_s_weights_that_are_gone_are_one_line(run: str, tmp_path: Path, workshop: Workshop) -> None:
    """As the command says it: a copy of a run without its checkpoints."""
    copy = tmp_path / "seed-0"
    copy.mkdir()
    (copy / "config.yaml").write_bytes(Path(run, "config.yaml").read_bytes())
    command = workshop.module("sandbox.video", copy, "--output", tmp_path / "film.gif", "--device", "cpu")
    assert command.wait() == 2
    assert len(command.stderr.splitlines()) == 1
    assert str(copy) in command.stderr
    assert workshop.module("sandbox.video", copy, "--device", "cpu").wait() == 2  # and no folder for the film


# ---- for programs


@pytest.mark.parametrize(
    ("runs", "asked"), [((), {}), (("run",), {"frames": 1}), (("run",), {"frames": 0}), (("run",), {"grid": (0, 4)})]
)
def test_a_film_of_nothing_is_no_film(runs: tuple[str, ...], asked: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="a film needs a run, 2 frames and a grid of 1x1"):
        film_of_runs(runs, **asked)  # type: ignore[arg-type]


@pytest.mark.parametrize("encode", [encode_gif, encode_mp4])
def test_a_film_of_one_frame_is_encoded_and_of_none_is_refused(encode: "type[object]") -> None:
    content = encode(np.full((1, 8, 8, 3), 9, np.uint8))  # type: ignore[call-arg]
    assert isinstance(content, bytes)
    for shape in ((0, 8, 8, 3), (2, 0, 8, 3), (2, 8, 0, 3)):
        with pytest.raises(ValueError, match="takes 1 or more frames of 1x1 to"):
            encode(np.zeros(shape, np.uint8))  # type: ignore[call-arg]
    for fps in (0, -1, 1001):
        with pytest.raises(ValueError, match="fps must be 1 to 1000"):
            encode(np.zeros((2, 8, 8, 3), np.uint8), fps)  # type: ignore[call-arg]


def test_edges_that_a_format_cannot_have_are_refused() -> None:
    for encode, edge in ((encode_gif, 65_536), (encode_mp4, 16_385)):
        with pytest.raises(ValueError, match=rf"2 frames of {edge}x1: .* takes 1 or more frames of 1x1 to"):
            encode(np.zeros((2, 1, edge, 3), np.uint8))
    widest = encode_mp4(np.zeros((1, 2, 16_384, 3), np.uint8))
    with av.open(io.BytesIO(widest)) as film:
        assert film.streams.video[0].width == 16_384
    with Image.open(io.BytesIO(encode_gif(np.zeros((1, 1, 65_535, 3), np.uint8)))) as gif:
        assert gif.size == (65_535, 1)


def test_a_film_that_fits_no_gif_says_what_would(run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox.cli.video, "encode_gif", lambda film, fps: encode_gif(film, fps, limit=100))
    with pytest.raises(UserError, match=r"does not fit into 100 bytes: give a smaller --grid, or --format mp4"):
        main([run, "--device", "cpu", "--output", str(tmp_path / "film.gif")])


def test_one_run_named_three_times_is_three_columns(compared: tuple[Path, Said], toy: str) -> None:
    run = compared[0] / "coord/seed-0"
    one, three = (film_of_runs([run] * times, frames=2, grid=(1, 1), device="cpu") for times in (1, 3))
    assert three.shape[2] > 2.9 * one.shape[2]
