"""The configuration: typed models, the catalogue of entries, and every path of an artifact."""

from wiseft.config.catalogue import Catalogue, load_config
from wiseft.config.datasets import (
    DatasetEntry,
    HeldOutDraw,
    LabelMap,
    ViewSettings,
)
from wiseft.config.entries import (
    ModelEntry,
    PackageEntry,
    Packages,
    PretrainSettings,
    PromptsEntry,
)
from wiseft.config.experiment import (
    Baselines,
    Bootstrap,
    Estimate,
    ExperimentEntry,
    FigureSettings,
    HeldOut,
)
from wiseft.config.files import NpmPackage, SourceFile
from wiseft.config.folder import UnknownName
from wiseft.config.loading import parse_settings
from wiseft.config.machine import Config
from wiseft.config.methods import FinetuneSettings, MethodEntry
from wiseft.config.paths import run_name, split_run_name
from wiseft.config.preprocessing import (
    Preprocessing,
    Transform,
    parse_preprocessing,
    parse_transform,
)

__all__ = [
    "Baselines",
    "Bootstrap",
    "Catalogue",
    "Config",
    "DatasetEntry",
    "Estimate",
    "ExperimentEntry",
    "FigureSettings",
    "FinetuneSettings",
    "HeldOut",
    "HeldOutDraw",
    "LabelMap",
    "MethodEntry",
    "ModelEntry",
    "NpmPackage",
    "PackageEntry",
    "Packages",
    "Preprocessing",
    "PretrainSettings",
    "PromptsEntry",
    "SourceFile",
    "Transform",
    "UnknownName",
    "ViewSettings",
    "load_config",
    "parse_preprocessing",
    "parse_settings",
    "parse_transform",
    "run_name",
    "split_run_name",
]
