"""The configuration: typed models, the catalogue of entries, and every path of an artifact."""

from wiseft.config.catalogue import Catalogue, load_config
from wiseft.config.datasets import DatasetEntry
from wiseft.config.entries import ModelEntry, PackageEntry, PretrainSettings, PromptsEntry
from wiseft.config.experiment import ExperimentEntry
from wiseft.config.files import SourceFile
from wiseft.config.folder import require_clone
from wiseft.config.loading import parse_settings
from wiseft.config.machine import Config
from wiseft.config.methods import FinetuneSettings
from wiseft.config.preprocessing import Preprocessing, Transform, parse_preprocessing

__all__ = [
    "Catalogue",
    "Config",
    "DatasetEntry",
    "ExperimentEntry",
    "FinetuneSettings",
    "ModelEntry",
    "PackageEntry",
    "Preprocessing",
    "PretrainSettings",
    "PromptsEntry",
    "SourceFile",
    "Transform",
    "load_config",
    "parse_preprocessing",
    "parse_settings",
    "require_clone",
]
