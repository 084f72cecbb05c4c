# Zero-shot models from elsewhere are fetched once, here; no other job asks the hub for anything.
rule weights:
    input:
        checkpoint=lambda w: model_of(w.model).path or [],
    output:
        weights=paths.weights_path("{model}"),
    log:
        "logs/weights/{model}.log",
    benchmark:
        "logs/benchmarks/weights/{model}.tsv"
    wildcard_constraints:
        model=one_of(FETCHED_MODELS),
    retries: 2
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=8000,
        runtime=120,
    params:
        content=lambda w: model_of(w.model).model_dump_json(exclude=NOT_OF_WEIGHTS),
    message:
        "weights: {wildcards.model}"
    shell:
        "HF_HUB_OFFLINE=0 wiseft weights {wildcards.model:q} --output {output.weights:q}"
        " > {log:q} 2>&1"


localrules:
    weights,
