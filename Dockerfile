# The workflow and its locked versions. docker build -t wiseft .
# docker run --rm -v "$PWD/results:/wiseft/results" wiseft make run
# On a GPU: --gpus all. data, datasets and results lie in /wiseft: mount folders of yours over those that are to stay.
FROM python:3.11-slim-bookworm

# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git make \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /wiseft
# Versions first: a change of the code does not install them again.
COPY requirements.lock pyproject.toml README.md LICENSE ./
RUN python -m venv .venv \
    && .venv/bin/pip install --no-cache-dir --disable-pip-version-check -r requirements.lock
COPY . .
RUN .venv/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation -e . \
    && touch .venv/.installed

ENV PATH=/wiseft/.venv/bin:$PATH
CMD ["make", "help"]
