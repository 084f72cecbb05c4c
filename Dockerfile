# The workflow and its locked versions. docker build -t wiseft .
# docker run --rm -v "$PWD/results:/wiseft/results" wiseft make run
# On a GPU: --gpus all. data, datasets and results lie in /wiseft: mount folders of yours over those that are to stay.
# Everything runs as user 1000, who must be allowed to write into the folders that you mount.
# Another base: --build-arg BASE_DIGEST=sha256:..., which `docker buildx imagetools inspect python:3.11-slim-bookworm` shows.
ARG BASE_DIGEST=sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b
FROM python:3.11-slim-bookworm@${BASE_DIGEST}

# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git make \
    && rm -rf /var/lib/apt/lists/*

RUN useradd --uid 1000 --create-home wiseft && mkdir /wiseft && chown 1000:1000 /wiseft
USER 1000:1000
WORKDIR /wiseft
# Versions first: a change of the code does not install them again.
COPY --chown=1000:1000 requirements.lock requirements-torch.txt pyproject.toml README.md LICENSE ./
RUN python -m venv .venv \
    && .venv/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes --no-deps -r requirements.lock \
    && .venv/bin/pip install --no-cache-dir --disable-pip-version-check -r requirements-torch.txt
COPY --chown=1000:1000 . .
RUN .venv/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation -e . \
    && touch .venv/.installed

ENV PATH=/wiseft/.venv/bin:$PATH
CMD ["make", "help"]
