# 1 convert, 2 plan and preprocess.


def convert_command(patients, flags):
    return [
        "comnet", "convert", patients["layout"], patients["source"], "-d", str(patients["id"]),
        "--name", patients["name"], *flags,
    ]  # fmt: skip


rule convert:
    output:
        touch("done/convert.done"),
    log:
        "logs/convert.log",
    params:
        command=convert_command(study["dataset"], ["--folds", str(study["folds"]), *study["dataset"]["flags"]]),
    threads: threads_of("convert")
    resources:
        mem_mb=memory_of("convert"),
        runtime=minutes_of("convert"),
    shell:
        "{params.command:q} --jobs {threads} >> {log:q} 2>&1"


rule convert_set:
    output:
        touch("done/convert/{set}.done"),
    log:
        "logs/convert_{set}.log",
    params:
        command=lambda wildcards: convert_command(
            {**SETS[wildcards.set], "name": wildcards.set}, SETS[wildcards.set]["convert_flags"]
        ),
    threads: threads_of("convert")
    resources:
        mem_mb=memory_of("convert"),
        runtime=minutes_of("convert"),
    shell:
        "{params.command:q} --jobs {threads} >> {log:q} 2>&1"


rule plan:
    input:
        "done/convert.done",
    output:
        touch("done/plan.done"),
    log:
        "logs/plan.log",
    params:
        command=["comnet", "plan", "-d", str(DATASET), "--preset", study["plan"]["preset"], *study["plan"]["flags"]],
    threads: threads_of("plan")
    resources:
        mem_mb=memory_of("plan"),
        runtime=minutes_of("plan"),
    shell:
        "{params.command:q} --jobs {threads} >> {log:q} 2>&1"


rule preprocess:
    input:
        "done/plan.done",
    output:
        touch("done/preprocess.done"),
    log:
        "logs/preprocess.log",
    threads: threads_of("preprocess")
    resources:
        mem_mb=memory_of("preprocess"),
        runtime=minutes_of("preprocess"),
    shell:
        "nnUNetv2_preprocess -d {DATASET} -plans_name {PLANS} -c {CONFIGURATION} -np {threads} >> {log:q} 2>&1"
