"""What is recorded of the machine that an artifact was made on."""

import json
import os
import subprocess
import sys

import torch

from wiseft.base.provenance import cpu, machine


def test_the_machine_is_described_by_what_rounding_depends_on() -> None:
    described = machine()
    assert list(described) == ["cpu", "vector_extension", "torch", "threads"]
    assert described["cpu"] == cpu()
    assert described["torch"] == str(torch.__version__)
    assert described["threads"] == torch.get_num_threads()
    assert json.loads(json.dumps(described)) == described


def test_a_vector_extension_that_torch_was_told_not_to_use_is_not_recorded() -> None:
    code = "import json; from wiseft.base.provenance import machine; print(json.dumps(machine()))"
    told = {**os.environ, "ATEN_CPU_CAPABILITY": "default"}
    found = subprocess.run([sys.executable, "-c", code], env=told, capture_output=True, check=True)
    described = json.loads(found.stdout)
    assert described["vector_extension"] in ("DEFAULT", "NO AVX")
    assert described["cpu"] == machine()["cpu"]
