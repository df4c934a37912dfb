"""The only loop: batches -> cascade -> (Sample, Instances) -> sinks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from utils.errors import SampleError
from utils.structures import Instances, Sample


@dataclass
class Report:
    """What a run did.

    Attributes:
        images: how many images went through.
        failures: the images that could not be used.
        unwritten: the images that went through, but that an output could not take.
    """

    images: int = 0
    failures: list[SampleError] = field(default_factory=list)
    unwritten: list[SampleError] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0: every image went through; 1: some could not be used."""
        return 1 if self.failures or self.unwritten else 0


class Sink(Protocol):
    """What becomes of the instances: metrics, overlays, every annotation format."""

    def write(self, sample: Sample, instances: Instances) -> None:
        """Takes one image's instances."""

    def finish(self, report: Report) -> list[str]:
        """Completes the output when all images went through; returns lines to print."""


class Cascade(Protocol):
    """What finds the instances."""

    def __call__(self, samples: Sequence[Sample]) -> Iterator[tuple[Sample, Instances]]:
        """The instances of each image of a batch, in order."""

    def report(self) -> list[str]:
        """Lines to print when all images went through."""


class SizedBatches(Protocol):
    """Batches of a known number of images."""

    @property
    def num_images(self) -> int:
        """Images in all batches together."""

    def __iter__(self) -> Iterator[list[Sample | SampleError]]:
        """The batches; an image that cannot be used stands as its error."""


def run(cascade: Cascade, batches: SizedBatches, sinks: Sequence[Sink]) -> Report:
    """Sends every image through the cascade into the sinks, then prints what they have to say.

    An image that cannot be used is named at the end and does not stop the run; nothing else is caught.
    """
    from tqdm import tqdm

    report = Report()
    with tqdm(total=batches.num_images, unit="image", dynamic_ncols=True) as progress:
        for batch in batches:
            report.failures += [entry for entry in batch if isinstance(entry, SampleError)]
            samples = [entry for entry in batch if isinstance(entry, Sample)]
            for sample, instances in cascade(samples):
                for sink in sinks:
                    sink.write(sample, instances)
                report.images += 1
                progress.update()
            progress.update(len(batch) - len(samples))
    print_lines(f"failed: {failure}" for failure in report.failures)
    print_lines(cascade.report())
    for sink in sinks:
        print_lines(sink.finish(report))
    return report


def print_lines(lines: Iterable[str]) -> None:
    """Prints each line."""
    for line in lines:
        print(line)
