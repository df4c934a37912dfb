"""The loop: what is handed over when, what is counted, what is shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from utils.distributed import Session
from utils.engine import Report, run
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


class Noted:
    """A cascade and a sink that note what happens; the cascade begins at once, as on a GPU."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def __call__(self, samples: Sequence[Sample]) -> Iterator[tuple[Sample, Instances]]:
        self.events.append("begin " + " ".join(each.image_id for each in samples))
        return ((each, Instances(each.size, Detections.empty(), [], np.zeros(0, np.float32))) for each in samples)

    def write(self, sample: Sample, instances: Instances) -> None:
        self.events.append(sample.image_id)

    def standing(self) -> dict[str, float]:
        return {"mIoU": 0.25}

    def report(self, session: Session) -> list[str]:
        return ["cascade"]

    def finish(self, report: Report, session: Session) -> list[str]:
        return ["sink"]


def test_a_batch_is_begun_before_the_one_before_it_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    noted = Noted()
    report = run(noted, Photos(), [noted], Session())
    assert noted.events == ["begin 0 1", "begin 2", "0", "1", "begin 4 5", "2", "4", "5"]
    assert (report.images, [failure.image_id for failure in report.failures], report.exit_code) == (5, ["3"], 1)
    printed = capsys.readouterr()
    assert printed.out.splitlines() == ["failed: 3.png: is broken", "cascade", "sink"]
    assert "6/6" in printed.err
    assert "mIoU 0.2500" in printed.err
