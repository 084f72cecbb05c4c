rule finetune:
    input:
        theta_0=lambda w: TARGETS.start(w.model, w.method),
        manifest=DATA.manifests([TARGETS.reference]),
        images=HANDED.beside(DATA.split_files, [TARGETS.reference]),
        trials=lambda w: TARGETS.trials(w.model, w.method, w.seed),
    output:
        theta_1=paths.theta_1_path(RUN, "{seed}"),
        curve=paths.training_curve_path(RUN, "{seed}"),
        record=paths.training_record_path(RUN, "{seed}"),
    log:
        f"logs/finetune/{RUN}/seed-{{seed}}.log",
    benchmark:
        f"logs/benchmarks/finetune/{RUN}/seed-{{seed}}.tsv"
    wildcard_constraints:
        model=one_of(EXPERIMENT.models),
        method=one_of(TARGETS.finetuned),
    priority: 50  # the evaluations, which take longest, wait for it
    # The workflow tries a job again; where the job runs, it does not try itself again.
    retries: RESOURCES.retries("finetune") if workflow.is_main_process else 0
    conda:
        "../../environment.yml"
    threads: JOBS.threads("finetune")
    resources:
        **RESOURCES.of("finetune"),
    params:
        version=VERSION["finetune"],
        content=DATA.content(TARGETS.reference),
        settings=lambda w: TOLD.training(w.method, TARGETS.trials(w.model, w.method, w.seed)),
        state=str(paths.state_path("finetune", RUN, "seed-{seed}")),
    message:
        "finetune: {wildcards.model}, {wildcards.method}, seed {wildcards.seed}"
    shell:
        "wiseft finetune --theta-0 {input.theta_0:q} --dataset {input.manifest:q}"
        " --settings {params.settings:q} --seed {wildcards.seed} --state {params.state:q}"
        " --theta-1 {output.theta_1:q} --curve {output.curve:q}"
        " --record {output.record:q} --device {resources.device} --threads {threads} > {log:q} 2>&1"


# Settings of a linear classifier are drawn at random; held-out images choose among them.
rule search:
    input:
        theta_0=paths.theta_0_path("{model}", "{reference}"),
        manifest=DATA.manifests([TARGETS.reference]),
        images=HANDED.beside(DATA.split_files, [TARGETS.reference]),
    output:
        theta_1=paths.theta_1_path(RUN, "{seed}"),
        curve=paths.training_curve_path(RUN, "{seed}"),
        trials=paths.trials_path(RUN, "{seed}"),
    log:
        f"logs/search/{RUN}/seed-{{seed}}.log",
    benchmark:
        f"logs/benchmarks/search/{RUN}/seed-{{seed}}.tsv"
    wildcard_constraints:
        model=one_of(EXPERIMENT.models),
        method=one_of(TARGETS.searched),
    priority: 50
    retries: RESOURCES.retries("search") if workflow.is_main_process else 0
    conda:
        "../../environment.yml"
    threads: JOBS.threads("search")
    resources:
        **RESOURCES.of("search"),
    params:
        version=VERSION["finetune"],
        content=DATA.content(TARGETS.reference),
        settings=lambda w: TOLD.training(w.method),
        state=str(paths.state_path("search", RUN, "seed-{seed}")),
    message:
        "search: {wildcards.model}, {wildcards.method}, seed {wildcards.seed}"
    shell:
        "wiseft search --theta-0 {input.theta_0:q} --dataset {input.manifest:q}"
        " --settings {params.settings:q} --seed {wildcards.seed} --state {params.state:q}"
        " --theta-1 {output.theta_1:q} --curve {output.curve:q} --trials {output.trials:q}"
        " --device {resources.device} --threads {threads} > {log:q} 2>&1"


# A model that was fine-tuned elsewhere: nothing is trained.
rule import_checkpoint:
    input:
        theta_0=paths.theta_0_path("{model}", "{reference}"),
        checkpoint=lambda w: local(TARGETS.checkpoints[w.method]),
    output:
        theta_1=paths.theta_1_path(RUN, "{seed}"),
    log:
        f"logs/import_checkpoint/{RUN}/seed-{{seed}}.log",
    benchmark:
        f"logs/benchmarks/import_checkpoint/{RUN}/seed-{{seed}}.tsv"
    wildcard_constraints:
        model=one_of(EXPERIMENT.models),
        method=one_of(TARGETS.checkpoints),
    conda:
        "../../environment.yml"
    resources:
        **RESOURCES.of("import_checkpoint"),
    params:
        version=VERSION["finetune"],
    message:
        "import_checkpoint: {wildcards.model}, {wildcards.method}"
    shell:
        "wiseft import {input.checkpoint:q} --theta-0 {input.theta_0:q}"
        " --output {output.theta_1:q} > {log:q} 2>&1"


# The same architecture from random weights: the points that the baseline fit goes through.
rule baseline:
    input:
        architecture=lambda w: local(TARGETS.architecture(w.model)),
        manifest=DATA.manifests([TARGETS.reference]),
        images=HANDED.beside(DATA.split_files, [TARGETS.reference]),
    output:
        theta_1=paths.theta_1_path(RUN, "{seed}"),
        curve=paths.training_curve_path(RUN, "{seed}"),
        record=paths.training_record_path(RUN, "{seed}"),
    log:
        f"logs/baseline/{RUN}/seed-{{seed}}.log",
    benchmark:
        f"logs/benchmarks/baseline/{RUN}/seed-{{seed}}.tsv"
    wildcard_constraints:
        model=one_of(TARGETS.baseline_models),
        method=one_of(TARGETS.baselines),
    retries: RESOURCES.retries("baseline") if workflow.is_main_process else 0
    conda:
        "../../environment.yml"
    threads: JOBS.threads("baseline")
    resources:
        **RESOURCES.of("baseline"),
    params:
        version=VERSION["finetune"],
        content=DATA.content(TARGETS.reference),
        settings=lambda w: TOLD.training(w.method),
        preprocessing=lambda w: TOLD.preprocessing(w.model),
        state=str(paths.state_path("baseline", RUN, "seed-{seed}")),
    message:
        "baseline: {wildcards.model}, {wildcards.method}, seed {wildcards.seed}"
    shell:
        "wiseft baseline --architecture {input.architecture:q} --dataset {input.manifest:q}"
        " --preprocessing {params.preprocessing:q} --settings {params.settings:q}"
        " --seed {wildcards.seed} --state {params.state:q}"
        " --theta-1 {output.theta_1:q} --curve {output.curve:q}"
        " --record {output.record:q} --device {resources.device} --threads {threads} > {log:q} 2>&1"
