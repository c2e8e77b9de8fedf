# 5 calibrate, 7 rules of post-processing from held-out predictions, and the table of the cross-validation.

CALIBRATED = ["comnet", "calibrate", "-d", str(DATASET), "-tr", STAGE_2, "-device", study["device"]]
if not study["mirroring"]:
    CALIBRATED.append("--disable_tta")


rule calibrate:
    input:
        expand(f"done/train/{STAGE_2}/fold_{{fold}}.done", fold=FOLDS),
    output:
        touch("done/calibrate.done"),
    log:
        "logs/calibrate.log",
    params:
        command=CALIBRATED + study["calibrate"]["flags"],
    threads: threads_of("calibrate")
    resources:
        mem_mb=memory_of("calibrate"),
        runtime=minutes_of("calibrate"),
        **GPU,
    shell:
        "{params.command:q} >> {log:q} 2>&1"


rule fit_postprocessing:
    input:
        expand(f"done/train/{STAGE_2}/fold_{{fold}}.done", fold=FOLDS),
    output:
        touch("done/postprocessing_fitted.done"),
    log:
        "logs/fit_postprocessing.log",
    params:
        out=place("postprocessing"),
        protocol=study["protocol"],
    threads: threads_of("score")
    resources:
        mem_mb=memory_of("score"),
        runtime=minutes_of("score"),
    shell:
        "comnet fit-postprocessing -d {DATASET} -tr {STAGE_2} --protocol {params.protocol} -o {params.out:q} "
        "--jobs {threads} >> {log:q} 2>&1"


rule find_best_configuration:
    input:
        expand(f"done/train/{STAGE_2}/fold_{{fold}}.done", fold=FOLDS),
    output:
        touch("done/postprocessing_stock.done"),
    log:
        "logs/find_best_configuration.log",
    params:
        folds=list(FOLDS),
    threads: threads_of("score")
    resources:
        mem_mb=memory_of("score"),
        runtime=minutes_of("score"),
    shell:
        "nnUNetv2_find_best_configuration {DATASET} -c {CONFIGURATION} -tr {STAGE_2} -p {PLANS} -f {params.folds} "
        "--disable_ensembling -np {threads} >> {log:q} 2>&1"


rule cv_report:
    input:
        expand("done/train/{trainer}/fold_{fold}.done", trainer=MODELS, fold=FOLDS),
    output:
        touch("done/cv_report.done"),
    log:
        "logs/cv_report.log",
    params:
        models=MODELS,
        out=place("cv_report"),
        protocol=study["protocol"],
    threads: threads_of("score")
    resources:
        mem_mb=memory_of("score"),
        runtime=minutes_of("score"),
    shell:
        "comnet cv-report -d {DATASET} --models {params.models} --protocol {params.protocol} -o {params.out:q} "
        "--jobs {threads} >> {log:q} 2>&1"
