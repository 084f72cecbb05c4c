"""The configuration: typed models, the catalogue of entries, and every path of an artifact."""

from wiseft.study.config.catalogue import Catalogue, load_config
from wiseft.study.config.datasets import DatasetEntry
from wiseft.study.config.entries import ModelEntry, PackageEntry, PretrainSettings, PromptsEntry
from wiseft.study.config.experiment import ExperimentEntry
from wiseft.study.config.folder import require_clone
from wiseft.study.config.machine import Config
from wiseft.study.config.methods import FinetuneSettings
from wiseft.study.config.source_files import SourceFile

__all__ = [
    "Catalogue",
    "Config",
    "DatasetEntry",
    "ExperimentEntry",
    "FinetuneSettings",
    "ModelEntry",
    "PackageEntry",
    "PretrainSettings",
    "PromptsEntry",
    "SourceFile",
    "load_config",
    "require_clone",
]
