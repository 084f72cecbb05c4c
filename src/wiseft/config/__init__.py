"""The configuration: typed models, the catalogue of entries, and every path of an artifact."""

from wiseft.config.catalogue import Catalogue, UnknownName, load_config
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
    Preprocessing,
    PretrainSettings,
    PromptsEntry,
)
from wiseft.config.experiment import (
    FIGURES,
    Baselines,
    Bootstrap,
    Estimate,
    ExperimentEntry,
    FigureSettings,
    HeldOut,
)
from wiseft.config.files import NpmPackage, SourceFile
from wiseft.config.loading import parse_settings
from wiseft.config.machine import Config
from wiseft.config.methods import FinetuneSettings, MethodEntry
from wiseft.config.paths import run_name, split_run_name

__all__ = [
    "FIGURES",
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
    "UnknownName",
    "ViewSettings",
    "load_config",
    "parse_settings",
    "run_name",
    "split_run_name",
]
