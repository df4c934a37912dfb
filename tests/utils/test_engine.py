"""The loop: what is handed over when, what is counted, what is shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from utils.distributed import Session
from utils.engine import RunSummary, SinkReport, failure_lines, run_loop
from utils.errors import SampleError
from utils.structures import Detections, Instances, Sample


def sample(number: int) -> Sample:
    return Sample(str(number), Path(f"{number}.png"), np.zeros((2, 2, 3), np.uint8))


class Photos:
    """Six images in batches of two; the fourth cannot be read."""

    ids: Sequence[str] = [str(number) for number in range(6)]
    num_images = 6

    def __iter__(self) -> Iterator[list[Sample | SampleError]]:
        for start in (0, 2, 4):
            yield [
                SampleError("3", Path("3.png"), "is broken") if number == 3 else sample(number)
                for number in (start, start + 1)
            ]


class Whole:
    """One image, which can be read."""

    ids: Sequence[str] = ["0"]
    num_images = 1

    def __iter__(self) -> Iterator[list[Sample | SampleError]]:
        yield [sample(0)]


class Noted:
    """A cascade and a sink that note what happens; the cascade begins at once, as on a GPU."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def __call__(self, samples: Sequence[Sample]) -> Iterator[tuple[Sample, Instances]]:
        self.events.append("begin " + " ".join(each.image_id for each in samples))
        return ((each, Instances(each.size, Detections.empty(), [], np.zeros(0, np.float32))) for each in samples)

    def write(self, sample: Sample, instances: Instances) -> None:
        self.events.append(sample.image_id)

    def running_metrics(self) -> dict[str, float]:
        return {"mIoU": 0.25}

    def summary_lines(self, session: Session) -> list[str]:
        return ["cascade"]

    def finish(self, summary: RunSummary, session: Session) -> SinkReport:
        return SinkReport(["sink"])


def test_a_batch_is_begun_before_the_one_before_it_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    noted = Noted()
    summary = run_loop(noted, Photos(), [noted], Session())
    assert noted.events == ["begin 0 1", "begin 2", "0", "1", "begin 4 5", "2", "4", "5"]
    assert ([failure.image_id for failure in summary.failures], summary.exit_code) == (["3"], 1)
    printed = capsys.readouterr()
    assert printed.out.splitlines() == ["failed: 3.png: is broken", "cascade", "sink"]
    assert "6/6" in printed.err
    assert "mIoU 0.2500" in printed.err


class Scoring(Noted):
    """A sink whose threads have scored nothing at first, and not all at the last image, as those of an evaluation."""

    mean = float("nan")

    def running_metrics(self) -> dict[str, float]:
        return {"mIoU": self.mean}

    def write(self, sample: Sample, instances: Instances) -> None:
        self.mean = 0.4830 if sample.image_id == "5" else self.mean

    def finish(self, summary: RunSummary, session: Session) -> SinkReport:
        self.mean = 0.4712
        return SinkReport([])


def test_the_bar_begins_without_numbers_and_ends_on_the_final_ones(capsys: pytest.CaptureFixture[str]) -> None:
    run_loop(Noted(), Photos(), [Scoring()], Session(), noun="frame")
    states = capsys.readouterr().err.strip().split("\r")
    assert "nan" not in "".join(states)
    assert "6/6" in states[-1] and "mIoU 0.4712" in states[-1] and "frame" in states[-1]


def test_frames_of_a_video_that_cannot_be_used_are_named_once() -> None:
    film, photo = Path("film.mp4"), Path("a/1.png")
    ids = [*(f"film/{i:06}" for i in range(9)), "a/1"]
    failures = [SampleError("a/1", photo, "gone"), *(SampleError(ids[i], film, "cut") for i in (8, 2, 7, 6, 0, 1))]
    failures.append(SampleError(ids[3], film, "damaged"))
    assert failure_lines(failures, ids) == [
        "failed: film.mp4: film/000000 to film/000002: cut",
        "failed: film.mp4: film/000003: damaged",
        "failed: film.mp4: film/000006 to film/000008: cut",
        "failed: a/1.png: gone",
    ]


def test_images_of_one_file_of_predictions_are_named() -> None:
    maps = Path("best_maps")
    failures = [SampleError(each, maps, "the image has no annotation") for each in ("a/1", "b", "d")]
    failures += [SampleError("best", Path("best.*"), "gone"), SampleError("clip", Path("clip"), "empty")]
    assert failure_lines(failures, ["a/1", "b", "c", "d", "best", "clip"]) == [
        "failed: best_maps: a/1 to b: the image has no annotation",
        "failed: best_maps: d: the image has no annotation",
        "failed: best.*: gone",
        "failed: clip: empty",
    ]


def test_a_line_break_in_a_name_breaks_no_line() -> None:
    failure = SampleError("b", Path("a\nfailed: b.png"), "gone")
    assert failure_lines([failure], ["b"]) == ["failed: a\\nfailed: b.png: b: gone"]


def test_an_image_that_an_output_cannot_take_decides_the_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    class Picky(Noted):
        def finish(self, summary: RunSummary, session: Session) -> SinkReport:
            return SinkReport(["sink"], [SampleError("0", Path("0.png"), "too long")])

    summary = run_loop(Noted(), Whole(), [Noted(), Picky()], Session())
    assert (summary.failures, [each.image_id for each in summary.unwritten]) == ([], ["0"])
    assert summary.exit_code == 1
    assert capsys.readouterr().out.splitlines() == ["cascade", "sink", "failed: 0.png: too long", "sink"]
