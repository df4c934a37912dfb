"""What every annotation format has: the files of one image, and the files that all images share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from utils.structures import Instances, Sample


@dataclass(frozen=True)
class Exported:
    """What one image becomes in a format.

    Attributes:
        files: contents by path below the format's folder, POSIX.
        record: what `assemble` needs of this image, in JSON's types; empty in formats without shared files.
        shapes: objects written.
        losses: what the format could not hold, counted by a phrase: `{"empty masks left out": 2}`.
    """

    files: Mapping[str, bytes]
    record: Mapping[str, Any] = field(default_factory=dict)
    shapes: int = 0
    losses: Mapping[str, int] = field(default_factory=dict)


class Exporter(Protocol):
    """An annotation format. It writes nothing: it turns instances into contents, in any thread, in any order."""

    def export(self, sample: Sample, instances: Instances) -> Exported:
        """The files of one image, the same bytes whenever image and instances are the same."""

    def assemble(self, records: Iterable[tuple[str, Mapping[str, Any]]]) -> Mapping[str, bytes]:
        """The files that all images share, from (image id, record) pairs in the order of the run; often none."""
