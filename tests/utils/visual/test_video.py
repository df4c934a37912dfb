"""The judge is cv2: it opens the videos and finds each frame where it belongs."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from tests.helpers.clips import GROUND, clip, sample
from utils.config import PredictorConfig
from utils.distributed import Session
from utils.engine import RunSummary
from utils.io.writers import WriterError, Writers, temporary_path
from utils.structures import Instances, Sample
from utils.visual.overlay import render
from utils.visual.video import MAX_WAITING, Encoder, OrderedVideoWriter, VideoOverlaySink, frame_rate

NAMES = ("dog", "cat")
Pair = tuple[Sample, Instances]


def frames(path: Path) -> Iterator[tuple[float, np.ndarray]]:
    """Time in seconds and (H, W, 3) RGB of each frame of a video."""
    video = cv2.VideoCapture(str(path))
    assert video.isOpened()
    while video.grab():
        yield video.get(cv2.CAP_PROP_POS_MSEC) / 1000, video.retrieve()[1][:, :, ::-1]


def write_overlays(folder: Path, pairs: Sequence[Pair], **settings: object) -> list[str]:
    with Writers(4) as writers:
        sink = VideoOverlaySink(PredictorConfig(folder, format="mp4", **settings), NAMES, writers)  # type: ignore[arg-type]
        for pair in pairs:
            sink.write(*pair)
        return sink.finish(RunSummary(), Session()).lines


def test_each_clip_is_a_video_of_its_overlays_in_order(tmp_path: Path) -> None:
    pairs = [*clip("deep/a", 12), *clip("2:30", 5)]
    lines = write_overlays(tmp_path, pairs, fps=10)
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == [".records", "2:30.mp4", "a.mp4"]
    for name, part in (("deep/a", pairs[:12]), ("2:30", pairs[12:])):
        found = list(frames(tmp_path / f"{name}.mp4"))
        assert len(found) == len(part)
        for i, ((seconds, picture), pair) in enumerate(zip(found, part)):
            assert seconds == pytest.approx(i / 10)
            expected = render(*pair, NAMES).astype(int)
            assert np.abs(picture - expected).mean() < 5
            assert np.abs(picture[60:80, 150:] - np.array(GROUND)).max() <= 4, "colours are right"
    assert lines == [f"overlays: 17 images in {tmp_path}", "overlays: 2 videos, one per clip"]


def test_the_file_is_h264_that_every_player_reads(tmp_path: Path) -> None:
    write_overlays(tmp_path, list(clip("a", 3)))
    with av.open(str(tmp_path / "a.mp4")) as video:
        stream = video.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert stream.average_rate == 25


def test_a_frame_that_failed_is_missing_and_the_others_keep_their_time(tmp_path: Path) -> None:
    pairs = [pair for i, pair in enumerate(clip("a", 9)) if i != 4]
    write_overlays(tmp_path, pairs, fps=20)
    assert [round(20 * seconds) for seconds, _ in frames(tmp_path / "a.mp4")] == [0, 1, 2, 3, 5, 6, 7, 8]


@pytest.mark.parametrize("size", [(97, 129), (96, 129), (2, 2), (31, 17)])
def test_an_odd_size_is_padded_with_the_edge(size: tuple[int, int], tmp_path: Path) -> None:
    pairs = [(sample("a", i, 2, size=size), Instances.from_masks(size, [], [])) for i in range(2)]
    write_overlays(tmp_path, pairs)
    for (_, picture), (one, _) in zip(frames(tmp_path / "a.mp4"), pairs, strict=True):
        assert picture.shape == (size[0] + size[0] % 2, size[1] + size[1] % 2, 3)
        assert np.abs(picture[: size[0], : size[1]].astype(int) - one.image).mean() < 6


def test_a_video_file_gives_its_frame_rate(tmp_path: Path) -> None:
    source = tmp_path / "source.mp4"
    video = Encoder(source, Fraction(30000, 1001), (32, 32))
    for i in range(4):
        video.add(i, np.zeros((32, 32, 3), np.uint8))
    video.close()
    assert frame_rate(source) == Fraction(30000, 1001)
    write_overlays(tmp_path / "out", list(clip("source", 4, path=source)), fps=5)
    assert frame_rate(tmp_path / "out/source.mp4") == Fraction(30000, 1001)
    source.write_bytes(b"no video")
    assert frame_rate(source) is frame_rate(tmp_path / "none.mp4") is None
    write_overlays(tmp_path / "out", list(clip("source", 4, path=source)), fps=5)
    assert frame_rate(tmp_path / "out/source.mp4") == 5


def test_the_video_does_not_depend_on_the_order_in_which_threads_finish(tmp_path: Path) -> None:
    pictures = [np.full((32, 32, 3), 10 * i, np.uint8) for i in range(20)]
    for name, order in (("in order", range(20)), ("backwards", reversed(range(20)))):
        video = OrderedVideoWriter(tmp_path / name, Fraction(25))
        tickets = [video.ticket() for _ in range(21)]
        threads = [threading.Thread(target=video.add, args=(tickets[i], i, pictures[i])) for i in order]
        threads.insert(7, threading.Thread(target=video.complete, args=(tickets[20],)))
        for thread in threads:
            thread.start()
            time.sleep(0.001)
        for thread in threads:
            thread.join()
    assert (tmp_path / "in order").read_bytes() == (tmp_path / "backwards").read_bytes()
    assert [round(float(picture.mean()), -1) for _, picture in frames(tmp_path / "backwards")] == list(
        range(0, 200, 10)
    )


def test_an_interrupted_run_leaves_the_old_video_and_nothing_else(tmp_path: Path) -> None:
    write_overlays(tmp_path, list(clip("a", 3)))
    before = (tmp_path / "a.mp4").read_bytes()

    def run() -> None:
        with Writers(2) as writers:
            sink = VideoOverlaySink(PredictorConfig(tmp_path, format="mp4"), NAMES, writers)
            for pair in [*clip("a", 8), *clip("b", 8)][:12]:
                sink.write(*pair)
            writers.flush()
            assert temporary_path(tmp_path / "b.mp4").exists()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".records", "a.mp4"]
    assert (tmp_path / "a.mp4").read_bytes() != before
    assert len(list(frames(tmp_path / "a.mp4"))) == 8


@pytest.mark.slow
def test_a_killed_run_leaves_no_torn_video(tmp_path: Path) -> None:
    script = (
        "import os, sys; sys.path.insert(0, '.')\n"
        "from pathlib import Path; from tests.helpers.clips import clip\n"
        "from utils.config import PredictorConfig\n"
        "from utils.visual.video import VideoOverlaySink; from utils.io.writers import Writers\n"
        "with Writers(2) as writers:\n"
        "    sink = VideoOverlaySink(PredictorConfig(Path(sys.argv[1]), format='mp4'), ('dog', 'cat'), writers)\n"
        "    for pair in [*clip('a', 4), *clip('b', 60)][:60]: sink.write(*pair)\n"
        "    writers.flush(); os.kill(os.getpid(), 9)\n"
    )
    root = Path(__file__).parents[3]
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], cwd=root, timeout=60)
    assert sorted(path.name for path in tmp_path.iterdir()) == [temporary_path(tmp_path / "b.mp4").name, "a.mp4"]
    write_overlays(tmp_path, [*clip("a", 4), *clip("b", 6)])
    assert sorted(path.name for path in tmp_path.iterdir()) == [".records", "a.mp4", "b.mp4"]
    assert len(list(frames(tmp_path / "b.mp4"))) == 6


def test_a_video_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "in the way").write_text("")
    with pytest.raises(WriterError, match=r"in the way/a\.mp4: cannot be written"):
        write_overlays(tmp_path / "in the way", list(clip("a", 3)))


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="limits the size of files")
@pytest.mark.parametrize("size", [0, 36, 4096])
def test_a_full_disk_is_told_in_words_of_the_disk(tmp_path: Path, size: int) -> None:
    script = (
        "import resource, sys; sys.path.insert(0, '.')\n"
        "from pathlib import Path; from tests.helpers.clips import clip\n"
        "from utils.visual.video import VideoOverlaySink; from utils.io.writers import WriterError, Writers\n"
        "from utils.config import PredictorConfig; from utils.distributed import Session\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)\n"
        "try:\n"
        "    with Writers(2) as writers:\n"
        "        sink = VideoOverlaySink(PredictorConfig(Path(sys.argv[1]), format='mp4'), ('dog', 'cat'), writers)\n"
        "        for pair in clip('a', 60): sink.write(*pair)\n"
        "        sink.finish(None, Session())\n"
        "except WriterError as error: print(error)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path), str(size)]
    done = subprocess.run(command, cwd=Path(__file__).parents[3], capture_output=True, text=True, timeout=60)
    assert done.stdout == f"{tmp_path / 'a.mp4'}: cannot be written: File too large\n", done.stderr
    assert [*tmp_path.iterdir()] == []


def test_few_frames_wait_for_a_slow_one_however_long_the_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow_at_first(one: Sample, *rest: object) -> np.ndarray:
        time.sleep(0.5 * (one.image_id == "a/000000"))
        return render(one, *rest)

    monkeypatch.setattr("utils.visual.video.render", slow_at_first)
    most = 0
    with Writers(4) as writers:
        sink = VideoOverlaySink(PredictorConfig(tmp_path, format="mp4"), NAMES, writers)
        for pair in clip("a", 120):
            sink.write(*pair)
            most = max(most, sink._video.waiting)
        sink.finish(RunSummary(), Session())
    assert 4 < most <= MAX_WAITING + 8
    assert len(list(frames(tmp_path / "a.mp4"))) == 120


def test_every_frame_of_a_video_shows_the_target_beside(tmp_path: Path) -> None:
    pairs = [
        (replace(one, gt_mask=np.full((192, 256), i % 3, np.uint8)), found)
        for i, (one, found) in enumerate(clip("a", 6))
    ]
    write_overlays(tmp_path, pairs, side_by_side=True)
    sizes = {picture.shape for _, picture in frames(tmp_path / "a.mp4")}
    assert len(sizes) == 1
    assert sizes.pop()[1] > 512


@pytest.mark.skipif(os.name != "posix", reason="limits the size of files")
def test_a_disk_that_fills_up_leaves_no_video(tmp_path: Path) -> None:
    import resource

    noise = np.random.default_rng(0)
    pairs = [
        (replace(one, image=noise.integers(0, 256, one.image.shape, np.uint8)), found) for one, found in clip("a", 60)
    ]
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, before[1]))
    try:
        with pytest.raises(WriterError, match=r"a\.mp4: cannot be written: .*File too large"):
            write_overlays(tmp_path, pairs)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []
