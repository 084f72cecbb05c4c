# A model that is made of fine-tuned ones: nothing is trained.
rule combine:
    input:
        thetas=lambda w: FILES.ingredients(w.model, w.method, w.seed),
    output:
        theta_1=paths.theta_1_path(RUN, "{seed}"),
    log:
        f"logs/combine/{RUN}/seed-{{seed}}.log",
    benchmark:
        f"logs/benchmarks/combine/{RUN}/seed-{{seed}}.tsv"
    wildcard_constraints:
        model=one_of(EXPERIMENT.models),
        method=one_of(TARGETS.merged),
    priority: 50  # the evaluations, which take longest, wait for it
    conda:
        "../../environment.yml"
    resources:
        **RESOURCES.of("combine"),
    params:
        version=VERSION["combine"],
        recipe=lambda w: TOLD.recipe(w.method),
    message:
        "combine: {wildcards.model}, {wildcards.method}, seed {wildcards.seed}"
    shell:
        "wiseft combine {input.thetas:q} --recipe {params.recipe:q} --output {output.theta_1:q}"
        " --device cpu > {log:q} 2>&1"


# A file is written only where somebody wants it; the sweep of the evaluation needs none. Any
# alpha may be asked for: snakemake --cores 1 data/runs/RUN/seed-0/combine/theta_0.350.safetensors
rule interpolate:
    input:
        theta_0=lambda w: TARGETS.theta_0(w.model, w.method),
        theta_1=paths.theta_1_path(RUN, "{seed}"),
    output:
        theta=paths.theta_path(RUN, "{seed}", "{alpha}"),
    log:
        f"logs/interpolate/{RUN}/seed-{{seed}}/{{alpha}}.log",
    benchmark:
        f"logs/benchmarks/interpolate/{RUN}/seed-{{seed}}/{{alpha}}.tsv"
    wildcard_constraints:
        model=one_of(EXPERIMENT.models),
        method=one_of(set(TARGETS.methods) - {*TARGETS.independent}),
    conda:
        "../../environment.yml"
    resources:
        **RESOURCES.of("interpolate"),
    params:
        version=VERSION["combine"],
    message:
        "interpolate: {wildcards.model}, {wildcards.method}, seed {wildcards.seed}, alpha {wildcards.alpha}"
    shell:
        "wiseft interpolate --theta-0 {input.theta_0:q} --theta-1 {input.theta_1:q}"
        " --alpha {wildcards.alpha} --output {output.theta:q} > {log:q} 2>&1"
