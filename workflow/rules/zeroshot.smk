# The reference's head, or that of a kept dataset.
rule zeroshot:
    input:
        weights=paths.weights_path("{model}"),
        manifest=lambda w: DATA.manifests([w.reference]),
        prompts=lambda w: DATA.prompts(w.reference),
        names_of=lambda w: DATA.manifests(TOLD.names_of(w.model)),
    output:
        theta_0=paths.theta_0_path("{model}", "{reference}"),
    log:
        "logs/zeroshot/{model}/{reference}.log",
    benchmark:
        "logs/benchmarks/zeroshot/{model}/{reference}.tsv"
    wildcard_constraints:
        model=one_of(TARGETS.prompted),
        reference=one_of([TARGETS.reference, *EXPERIMENT.keep]),
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        **RESOURCES.of("zeroshot"),
    params:
        version=VERSION["zeroshot"],
        content=lambda w: DATA.content(w.reference, *TOLD.names_of(w.model)),
        templates=lambda w: TOLD.templates(w.reference),
        names_of=lambda w, input: repeat("--names-of", input.names_of),
    message:
        "zeroshot: {wildcards.model}, head for {wildcards.reference}"
    shell:
        "wiseft zeroshot --weights {input.weights:q} --dataset {input.manifest:q}"
        " --prompts {params.templates:q} {params.names_of} --theta-0 {output.theta_0:q}"
        " --device {resources.device} --threads {threads} > {log:q} 2>&1"


# As zeroshot, with the class names of a dataset that is mapped from the reference.
use rule zeroshot as zeroshot_own_head with:
    input:
        weights=paths.weights_path("{model}"),
        manifest=lambda w: DATA.manifests([w.dataset]),
        prompts=DATA.prompts(TARGETS.reference),
        spread_over=DATA.manifests([TARGETS.reference]),
    output:
        theta_0=paths.theta_0_own_head_path("{model}", "{reference}", "{dataset}"),
    log:
        "logs/zeroshot_own_head/{model}/{reference}/{dataset}.log",
    benchmark:
        "logs/benchmarks/zeroshot_own_head/{model}/{reference}/{dataset}.tsv"
    wildcard_constraints:
        model=one_of(model for model, _ in FILES.own_heads),
        dataset=one_of(dataset for _, dataset in FILES.own_heads),
    params:
        version=VERSION["zeroshot"],
        content=lambda w: DATA.content(TARGETS.reference, w.dataset),
        templates=lambda w: TOLD.templates(TARGETS.reference),
        names_of=lambda w, input: repeat("--spread-over", input.spread_over),
    message:
        "zeroshot_own_head: {wildcards.model}, head of the class names of {wildcards.dataset}"


# As zeroshot, with a temperature fitted on images of the reference (the paper does so for ALIGN).
rule zeroshot_calibrated:
    input:
        weights=paths.weights_path("{model}"),
        manifest=DATA.manifests([TARGETS.reference]),
        images=HANDED.beside(DATA.split_files, [TARGETS.reference]),
        prompts=DATA.prompts(TARGETS.reference),
    output:
        theta_0=paths.theta_0_path("{model}", "{reference}"),
    log:
        "logs/zeroshot_calibrated/{model}/{reference}.log",
    benchmark:
        "logs/benchmarks/zeroshot_calibrated/{model}/{reference}.tsv"
    wildcard_constraints:
        model=one_of(TARGETS.calibrated),
    conda:
        "../../environment.yml"
    threads: JOBS.threads("zeroshot_calibrated")
    resources:
        **RESOURCES.of("zeroshot_calibrated"),
    params:
        version=VERSION["zeroshot"],
        content=DATA.content(TARGETS.reference),
        templates=lambda w: TOLD.templates(TARGETS.reference),
        calibrate=lambda w: TARGETS.entry(w.model).calibrate,
    message:
        "zeroshot_calibrated: {wildcards.model}, head for {wildcards.reference}"
    shell:
        "wiseft zeroshot --weights {input.weights:q} --dataset {input.manifest:q}"
        " --prompts {params.templates:q} --calibrate {params.calibrate:q}"
        " --theta-0 {output.theta_0:q}"
        " --device {resources.device} --threads {threads} > {log:q} 2>&1"


# The head of a classifier with a label set of its own: its rows for the reference's classes.
rule zeroshot_supervised:
    input:
        weights=paths.weights_path("{model}"),
        manifest=DATA.manifests([TARGETS.reference]),
        label_map=lambda w: local(TARGETS.label_map(w.model)),
    output:
        theta_0=paths.theta_0_path("{model}", "{reference}"),
    log:
        "logs/zeroshot_supervised/{model}/{reference}.log",
    benchmark:
        "logs/benchmarks/zeroshot_supervised/{model}/{reference}.tsv"
    wildcard_constraints:
        model=one_of(TARGETS.supervised),
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        **RESOURCES.of("zeroshot_supervised"),
    params:
        version=VERSION["zeroshot"],
        content=DATA.content(TARGETS.reference),
        label_map=lambda w, input: repeat("--label-map", input.label_map),
    message:
        "zeroshot_supervised: {wildcards.model}, head for {wildcards.reference}"
    shell:
        "wiseft zeroshot --weights {input.weights:q} --dataset {input.manifest:q}"
        " {params.label_map} --theta-0 {output.theta_0:q} --device cpu"
        " --threads {threads} > {log:q} 2>&1"


# Contrastive fine-tuning trains the text tower too, so both ends must carry it; Lipsum-FT reads it.
rule text_tower:
    input:
        theta_0=paths.theta_0_path("{model}", "{reference}"),
        weights=paths.weights_path("{model}"),
    output:
        theta_0=paths.theta_0_with_text_path("{model}", "{reference}"),
    log:
        "logs/text_tower/{model}/{reference}.log",
    benchmark:
        "logs/benchmarks/text_tower/{model}/{reference}.tsv"
    wildcard_constraints:
        model=one_of(EXPERIMENT.models),
    conda:
        "../../environment.yml"
    resources:
        **RESOURCES.of("text_tower"),
    params:
        version=VERSION["zeroshot"],
    message:
        "text_tower: {wildcards.model}, {wildcards.reference}"
    shell:
        "wiseft text-tower --theta-0 {input.theta_0:q} --weights {input.weights:q}"
        " --output {output.theta_0:q} > {log:q} 2>&1"
