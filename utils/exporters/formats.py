"""The annotation formats: who makes them, where their files lie, which settings change them."""

from __future__ import annotations

from collections.abc import Callable

from utils.exporters.exporter import Exported, Exporter, ExportSettings, Format
from utils.structures import Instances, Sample


class LabelmeExporter:
    """labelme files with mask shapes."""

    def __init__(self, settings: ExportSettings) -> None:
        self._settings = settings

    def export(self, sample: Sample, instances: Instances) -> Exported:
        """The file of one image."""
        from utils.exporters.labelme import to_labelme

        path = f"{sample.image_id}.json"
        content = to_labelme(sample, instances, self._settings.names, (self._settings.folder / path).parent)
        empty = sum(not mask.crop.size for mask in instances.masks)
        losses = {"empty masks left out": empty} if empty else {}
        return Exported({path: content}, shapes=len(instances) - empty, losses=losses)

    def assemble(self, records: object) -> dict[str, bytes]:
        """No file."""
        return {}


FORMATS: dict[Format, Callable[[ExportSettings], Exporter]] = {"labelme": LabelmeExporter}
