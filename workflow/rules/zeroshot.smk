rule zeroshot:
    input:
        weights=paths.weights_path("{model}"),
        manifest=manifests([EXPERIMENT.reference]),
        prompts=prompts_file(EXPERIMENT.reference),
    output:
        theta_0=paths.theta_0_path("{model}", "{reference}"),
    log:
        "logs/zeroshot/{model}/{reference}.log",
    benchmark:
        "logs/benchmarks/zeroshot/{model}/{reference}.tsv"
    wildcard_constraints:
        model=one_of(EXPERIMENT.models),
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=1500,
        runtime=30,
        gpu=gpus(),
        device=SETTINGS.device,
    params:
        version=VERSION["zeroshot"],
        content=data_id(EXPERIMENT.reference),
        templates=lambda w: templates_of(w.reference),
    message:
        "zeroshot: {wildcards.model}, head for {wildcards.reference}"
    shell:
        "wiseft zeroshot --weights {input.weights:q} --dataset {input.manifest:q}"
        " --prompts {params.templates:q} --theta-0 {output.theta_0:q}"
        " --device {resources.device} --threads {threads} > {log:q} 2>&1"
