"""The configuration: typed models, the catalogue of entries, and every path of an artifact."""

from wiseft.base.loading import parse_settings
from wiseft.study.config.catalogue import Catalogue, load_config
from wiseft.study.config.datasets import DatasetEntry
from wiseft.study.config.entries import ModelEntry, PackageEntry, PretrainSettings, PromptsEntry
from wiseft.study.config.experiment import ExperimentEntry
from wiseft.study.config.folder import require_clone
from wiseft.study.config.machine import Config
from wiseft.study.config.methods import FinetuneSettings
from wiseft.study.config.source_files import SourceFile
from wiseft.thetas.preprocessing import Preprocessing, Transform, parse_preprocessing

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
