"""What an experiment needs, what it makes, and what each command is told.

The rules of the workflow, `wiseft doctor`, `wiseft plan`, publishing and the Slurm profile ask
:class:`Targets` and answer none of it by themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wiseft.errors import WiseftError
from wiseft.study.config import Catalogue, Config, ExperimentEntry, load_config
from wiseft.study.targets.code import Code
from wiseft.study.targets.data import Data
from wiseft.study.targets.files import Files, Kind
from wiseft.study.targets.jobs import Jobs
from wiseft.study.targets.runs import Run, Runs, experiment_runs
from wiseft.study.targets.stored import Stored
from wiseft.study.targets.told import Handed, Told, repeat
from wiseft.study.targets.training_how import how_problems

__all__ = ["Handed", "Kind", "Run", "Targets", "experiment_runs", "repeat"]


class Targets(Runs):
    """An experiment: its runs, with what is asked of each part of it.

    Attributes:
        data: which datasets and splits are needed, what of them is missing, what identifies them.
        files: the files that are made, by kind and stage.
        told: the JSON and the options that each command gets.
        stored: what evaluations hold besides what this experiment asks for.
        jobs: the jobs by rule, their GPUs and processes.
        code: the source files behind a command.
    """

    def __init__(self, settings: Config, catalogue: Catalogue, experiment: ExperimentEntry) -> None:
        super().__init__(settings, catalogue, experiment)
        self.data = Data(self)
        self.files = Files(self, self.data)
        self.told = Told(self, self.data, self.files)
        self.stored = Stored(self, self.data, self.files, self.told)
        self.jobs = Jobs(self, self.data, self.files)
        clone = catalogue.root / "src" / "wiseft"  # else the workflow runs in a folder of its own
        self.code = Code(clone if clone.is_dir() else Path(__file__).parents[2])

    @classmethod
    def read(cls, root: Path | str = ".", overrides: Mapping[str, Any] | None = None) -> Targets:
        """Read the configuration of a project, with overrides such as `{"experiment": NAME}`.

        Raises:
            WiseftError: a line for every problem of the configuration or the experiment.
        """
        catalogue = Catalogue(root)
        settings = load_config(catalogue.folder / "config.yaml", overrides)
        return cls(settings, catalogue, catalogue.experiment(settings.experiment))

    def check(self, travels: bool = False) -> None:
        """Raise WiseftError with a line for every training that cannot work on this machine, for
        every dataset that is there in part and needed whole, and, where files travel, for every
        dataset that cannot.
        """
        problems = how_problems(self) + self.data.part_problems()
        if problems := problems + (self.data.not_travelling() if travels else []):
            raise WiseftError("\n".join(problems))
