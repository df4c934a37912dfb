"""Split the missing mean IoU between detector and SAM2 while a run goes on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from utils.distributed import Session
from utils.engine import SureCascade
from utils.metrics.attribution import Attribution
from utils.structures import Instances, Sample


class AttributingCascade:
    """A cascade whose boxes are those found and then the true ones; sinks see what became of those found.

    Args:
        cascade: finds the instances of both, for samples that have their target and their true instances.
        attribution: counts both.
    """

    def __init__(self, cascade: SureCascade, attribution: Attribution) -> None:
        self._cascade, self._attribution = cascade, attribution

    def __call__(self, samples: Sequence[Sample]) -> Iterator[tuple[Sample, Instances]]:
        """The instances of each image of a batch, in order."""
        # The other cascade is called here and now, so that a GPU can begin.
        return ((sample, self._attributed(sample, both)) for sample, both in self._cascade(samples))

    def _attributed(self, sample: Sample, both: Instances) -> Instances:
        assert sample.gt_instances is not None, sample.image_id
        count = len(both) - len(sample.gt_instances)
        self._attribution.add(sample, both[:count], both[count:])
        return both[:count]

    def summary_lines(self, session: Session) -> list[str]:
        """As the other cascade's."""
        return self._cascade.summary_lines(session)
