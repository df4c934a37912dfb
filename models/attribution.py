"""Split the missing mean IoU between detector and SAM2 while a run goes on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from utils.distributed import Session
from utils.engine import SureCascade
from utils.evaluation.files import ATTRIBUTION
from utils.io.encoding import encode_json
from utils.io.writers import atomic_write
from utils.metrics.attribution import Attribution, table
from utils.structures import Instances, Sample


class AttributingCascade:
    """A cascade whose boxes are those found and then the true ones; sinks see what became of those found.

    Args:
        cascade: finds the instances of both, for samples that have their target and their true instances.
        attribution: takes them.
        save_dir: where `attribution.json` goes.
    """

    def __init__(self, cascade: SureCascade, attribution: Attribution, save_dir: Path) -> None:
        self._cascade, self._attribution, self._save_dir = cascade, attribution, save_dir

    def __call__(self, samples: Sequence[Sample]) -> Iterator[tuple[Sample, Instances]]:
        """The instances of each image of a batch, in order."""
        # The other cascade is called here and now, so that a GPU can begin.
        return ((sample, self._attributed(sample, both)) for sample, both in self._cascade(samples))

    def _attributed(self, sample: Sample, both: Instances) -> Instances:
        assert sample.gt_mask is not None and sample.gt_instances is not None, sample.image_id
        count = len(both) - len(sample.gt_instances)
        self._attribution.add(sample.gt_mask, both[:count], both[count:])
        return both[:count]

    def summary_lines(self, session: Session) -> list[str]:
        """What the cascade has to say, and who lost it; writes `attribution.json`."""
        lines, result = self._cascade.summary_lines(session), self._attribution.result(session)
        if session.is_main:
            atomic_write(self._save_dir / ATTRIBUTION, encode_json(result, indent=2))
        return [*lines, *table(result)]
