"""All settings of a run: a JSON file, the command line's changes to it, and what its keys mean."""

# ruff: noqa: F401

from utils.config.finetune import FinetuneConfig, MaskLoss, SamFinetune, YoloFinetune
from utils.config.loading import Config, Override, load_config
from utils.config.schema import (
    ArchConfig,
    AutoMaskConfig,
    CleanupConfig,
    DataloaderConfig,
    DatasetConfig,
    DetectorConfig,
    EvaluatorConfig,
    PredictorConfig,
    SegmenterConfig,
    VideoConfig,
)
