"""The only loop: batches -> cascade -> (Sample, Instances) -> sinks."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, groupby
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, Protocol, TypeAlias, runtime_checkable

from utils.distributed import Session
from utils.errors import SampleError
from utils.io.image_files import is_video_name
from utils.io.terminal import progress_bar, say
from utils.structures import Instances, Sample

if TYPE_CHECKING:
    from tqdm import tqdm


@dataclass
class RunSummary:
    """Hold what a run could not do, in all its processes.

    Attributes:
        failures: the images that could not be used.
        unwritten: the images that went through, but that an output could not take.
    """

    failures: list[SampleError] = field(default_factory=list)
    unwritten: list[SampleError] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """Return 0 if every image went through, 1 if some could not be used."""
        return 1 if self.failures or self.unwritten else 0


@dataclass(frozen=True)
class SinkReport:
    """Hold the lines that a sink prints at the end of a run, and the images that it could not write.

    Attributes:
        lines: to print.
        unwritten: the images that went through, but that the output could not take; they are named before the lines.
    """

    lines: list[str]
    unwritten: Sequence[SampleError] = ()


class Sink(Protocol):
    """Receive the instances of each image: metrics, overlays, every annotation format.

    Each process has sinks of its own, which get the images of this process only.
    """

    def write(self, sample: Sample, instances: Instances) -> None:
        """Take the instances of one image."""

    def finish(self, summary: RunSummary, session: Session) -> SinkReport:
        """Complete the output when all images of all processes went through; return lines to print."""


@runtime_checkable
class MetricsSink(Protocol):
    """Mark a sink whose measures are shown while a run goes on."""

    def running_metrics(self) -> Mapping[str, float]:
        """Return the measures by name: of the images of this process so far; after `finish`, of all images.

        A measure that is not defined yet is NaN.
        """


Result: TypeAlias = "tuple[Sample, Instances] | SampleError"
"""What a cascade returns for an image: its instances, or why the image could not be used."""


class Cascade(Protocol):
    """Find the instances of images: the cascade of detector and SAM2, or annotations in its place."""

    def __call__(self, samples: Sequence[Sample]) -> Iterator[Result]:
        """Return an iterator over the results of a batch, in order; the next call may come before it is used up."""

    def summary_lines(self, session: Session) -> list[str]:
        """Return lines to print when all images of all processes went through."""


class Batches(Protocol):
    """Yield batches of a known number of images.

    Attributes:
        ids: the images of the whole run, those of other processes included.
        num_images: images in all batches of this process together.
    """

    @property
    def ids(self) -> Sequence[str]: ...

    @property
    def num_images(self) -> int: ...

    def __iter__(self) -> Iterator[list[Sample | SampleError]]:
        """Yield the batches; an image that cannot be used is replaced by its error."""


class RunImages(Protocol):
    """List the images of a run, in the order of their dataset.

    Attributes:
        ids: their image ids.
        paths: their files; frames of a video share its file.
        units: positions of the images of each batch or, with `--video`, of each clip. A unit is done as a whole.
    """

    @property
    def ids(self) -> Sequence[str]: ...

    @property
    def paths(self) -> Sequence[Path]: ...

    @property
    def units(self) -> Sequence[range]: ...

    def sizes(self, positions: Sequence[int]) -> Sequence[tuple[int, int] | None]:
        """Return (height, width) of the images at these positions, from their headers; None for unreadable ones."""

    def check_gt_masks(self, num_classes: int) -> None:
        """Raise UserError if masks have values outside the classes, unless that is checked already."""

    def batches(self, units: Sequence[range]) -> Batches:
        """Return the batches of some of the units, read ahead by threads."""


def run_loop(
    cascade: Cascade,
    batches: Batches,
    sinks: Sequence[Sink],
    session: Session,
    *,
    exchange: Session | None = None,
    noun: str = "image",
    ahead: int = 1,
) -> RunSummary:
    """Send every image through the cascade into the sinks, then print the lines that they return.

    An image that cannot be used is named at the end and does not stop the run; nothing else is caught. With several
    processes each works on its own batches, and the first one prints for all.

    Args:
        session: the processes of this run.
        exchange: the session that joins summaries and outputs at the end, where it is another one: that of a shard or
            of a merge, see `utils/shards.py`.
        noun: what the progress bar counts.
        ahead: how many batches the cascade gets before the results of the first one are taken.
    """
    summary, quiet = RunSummary(), not session.is_main or not batches.num_images
    with progress_bar(total=batches.num_images, unit=noun, disable=quiet) as progress:
        for unread, found in _results_by_batch(cascade, batches, ahead):
            _write(chain(unread, found), sinks, summary, progress)
        exchange = exchange or session
        failures = [failure for _, failure in _in_order(exchange.gather(summary.failures), batches.ids)]
        summary = RunSummary(failures)
        lines = [*failure_lines(summary.failures, batches.ids), *cascade.summary_lines(session)]
        for sink in sinks:
            report = sink.finish(summary, exchange)
            lines += [*failure_lines(report.unwritten, batches.ids), *report.lines]
            summary.unwritten += report.unwritten
        progress.set_postfix_str(_progress_text(sinks))  # threads score, and only `finish` waits for the last image
    say(lines)
    session.barrier()  # torchrun ends all processes when the first one ends with exit code 1, whatever they are doing
    return summary


def failure_lines(failures: Iterable[SampleError], ids: Sequence[str]) -> list[str]:
    """Return lines that name the failures, in the order of the run; consecutive images of one file share a line.

    Args:
        ids: the images of the whole run.
    """

    def shares_line(numbered: tuple[int, tuple[int, SampleError]]) -> tuple[Path, str, int]:
        number, (place, failure) = numbered
        return failure.path, failure.reason, place - number  # the same for consecutive images

    lines = []
    for (path, reason, _), group in groupby(enumerate(_in_order(failures, ids)), shares_line):
        failed = [failure.image_id for _, (_, failure) in group]
        named_by_file = f"{path.name}.".startswith(f"{failed[0].rpartition('/')[2]}.") and not is_video_name(path.name)
        images = "" if named_by_file else f"{' to '.join(dict.fromkeys([failed[0], failed[-1]]))}: "
        lines.append(f"failed: {path}: {images}{reason}".replace("\n", "\\n"))  # names of files may hold them
    return lines


def _write(outcomes: Iterable[Result], sinks: Sequence[Sink], summary: RunSummary, progress: tqdm[NoReturn]) -> None:
    """Send results into the sinks; no image is held when this returns, since the next one may need its memory."""
    for outcome in outcomes:
        if isinstance(outcome, SampleError):
            summary.failures.append(outcome)
        else:
            for sink in sinks:
                sink.write(*outcome)
            progress.set_postfix_str(_progress_text(sinks), refresh=False)
        progress.update()


def _results_by_batch(
    cascade: Cascade, batches: Iterable[Sequence[Sample | SampleError]], ahead: int
) -> Iterator[tuple[list[SampleError], Iterator[Result]]]:
    """Yield, for each batch in order, the images that failed already and the results of the others.

    The cascade gets `ahead` batches before the results of a batch are yielded, so that a GPU works while the sinks do.
    """
    begun: deque[tuple[list[SampleError], Iterator[Result]]] = deque()
    for batch in batches:
        failures = [entry for entry in batch if isinstance(entry, SampleError)]
        begun.append((failures, cascade([entry for entry in batch if isinstance(entry, Sample)])))
        del batch  # its images; a name would hold them while the next ones are read
        if len(begun) > ahead:
            yield begun.popleft()
    yield from begun


def _progress_text(sinks: Sequence[Sink]) -> str:
    """Return what the progress bar shows: the measures so far, without those that are not defined yet."""
    measures = [
        measure for sink in sinks if isinstance(sink, MetricsSink) for measure in sink.running_metrics().items()
    ]
    return ", ".join(f"{name} {value:.4f}" for name, value in measures if not isnan(value))


def _in_order(failures: Iterable[SampleError], ids: Sequence[str]) -> list[tuple[int, SampleError]]:
    """Sort failures in the order of the run, each with its place among all images."""
    failed = {failure.image_id: failure for failure in failures}
    found = [(place, failed[image_id]) for place, image_id in enumerate(ids) if image_id in failed] if failed else []
    assert len(found) == len(failed), f"failures of images outside the run: {failed.keys() - {*ids}}"
    return found
