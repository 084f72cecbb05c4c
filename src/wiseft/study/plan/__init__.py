"""What an experiment costs: jobs, GPU hours and disk space, estimated from the configuration.

Images x passes x FLOPs over peak x a stated utilisation; a measured rate replaces the estimate.
"""

from __future__ import annotations

from wiseft.study.plan.estimate import Assumptions, Plan, estimate
from wiseft.study.plan.hardware import PEAKS, Peak
from wiseft.study.plan.render import render

__all__ = ["PEAKS", "Assumptions", "Peak", "Plan", "estimate", "render"]
