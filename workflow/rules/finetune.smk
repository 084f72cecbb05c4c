rule finetune:
    input:
        theta_0=paths.theta_0_path("{model}", "{reference}"),
        manifest=manifests([EXPERIMENT.reference]),
    output:
        theta_1=paths.theta_1_path(RUN, "{seed}"),
        curve=paths.training_curve_path(RUN, "{seed}"),
    log:
        f"logs/finetune/{RUN}/seed-{{seed}}.log",
    benchmark:
        f"logs/benchmarks/finetune/{RUN}/seed-{{seed}}.tsv"
    wildcard_constraints:
        model=one_of(EXPERIMENT.models),
        method=one_of(METHODS),
    priority: 50  # the evaluations, which take longest, wait for it
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=120,
        gpu=gpus(),
        device=SETTINGS.device,
    params:
        version=VERSION["finetune"],
        content=data_id(EXPERIMENT.reference),
        settings=lambda w: CATALOGUE.method_settings(w.method).model_dump_json(),
        state=str(paths.state_path("finetune", RUN, "seed-{seed}")),
    message:
        "finetune: {wildcards.model}, {wildcards.method}, seed {wildcards.seed}"
    shell:
        "wiseft finetune --theta-0 {input.theta_0:q} --dataset {input.manifest:q}"
        " --settings {params.settings:q} --seed {wildcards.seed} --state {params.state:q}"
        " --theta-1 {output.theta_1:q} --curve {output.curve:q}"
        " --device {resources.device} --threads {threads} > {log:q} 2>&1"


# The same architecture from random weights: the points that the baseline fit goes through.
rule baseline:
    input:
        architecture=lambda w: architecture(w.model),
        manifest=manifests([EXPERIMENT.reference]),
    output:
        theta_1=paths.theta_1_path(RUN, "{seed}"),
        curve=paths.training_curve_path(RUN, "{seed}"),
    log:
        f"logs/baseline/{RUN}/seed-{{seed}}.log",
    benchmark:
        f"logs/benchmarks/baseline/{RUN}/seed-{{seed}}.tsv"
    wildcard_constraints:
        model=one_of(BASELINE_MODELS),
        method=one_of(BASELINES),
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=120,
        gpu=gpus(),
        device=SETTINGS.device,
    params:
        version=VERSION["finetune"],
        content=data_id(EXPERIMENT.reference),
        settings=lambda w: CATALOGUE.method_settings(w.method).model_dump_json(),
        preprocessing=lambda w: model_of(w.model).preprocessing.model_dump_json(),
        state=str(paths.state_path("baseline", RUN, "seed-{seed}")),
    message:
        "baseline: {wildcards.model}, {wildcards.method}, seed {wildcards.seed}"
    shell:
        "wiseft baseline --architecture {input.architecture:q} --dataset {input.manifest:q}"
        " --preprocessing {params.preprocessing:q} --settings {params.settings:q}"
        " --seed {wildcards.seed} --state {params.state:q}"
        " --theta-1 {output.theta_1:q} --curve {output.curve:q}"
        " --device {resources.device} --threads {threads} > {log:q} 2>&1"
