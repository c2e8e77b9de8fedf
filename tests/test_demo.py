"""How the demo's scripts train folds: side by side, each on its share of the cores; a fold that fails ends the demo."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

DEMO = Path(__file__).parents[1] / "demo"
BODY = 'set -euo pipefail; . "$here/common.sh"; train nnUNetTrainerAny; echo "$cores cores, all trained"'
TRAIN = """#!/bin/sh
[ "$1 $2 $4 $5" = "501 3d_fullres -tr nnUNetTrainerAny" ] || exit 9
echo begun > "$out/fold $3"
for line in 1 2 3 4 5; do echo "fold $3 says $line with $OMP_NUM_THREADS thread(s)"; done
[ "$3" != "$broken" ] || { echo "fold $3 is broken" >&2; exit 3; }
"""


def trained(folder: Path, broken: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs `train` with a command in nnU-Net's place that fails for the fold `broken`."""
    commands = folder / "commands"
    commands.mkdir()
    for name, text in (("nnUNetv2_train", TRAIN), ("comnet", "#!/bin/sh\n")):
        (commands / name).write_text(text)
        (commands / name).chmod(0o755)
    path = os.pathsep.join([str(commands), str(Path(sys.executable).parent), os.environ["PATH"]])
    given = {"out": str(folder), "log": str(folder / "demo.log"), "here": str(DEMO), "broken": broken, "PATH": path}
    return subprocess.run(
        ["bash", "-c", BODY], env={**os.environ, **given, **environment}, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(("threads", "at_once", "each"), [("1", 1, 1), ("2", 2, 1), ("8", 3, 2)])
def test_all_folds_are_trained_on_their_share_of_the_cores(
    tmp_path: Path, threads: str, at_once: int, each: int
) -> None:
    ran = trained(tmp_path, broken="none", OMP_NUM_THREADS=threads)
    assert ran.returncode == 0, ran.stderr
    assert f"(folds 0 to 4, {at_once} at once)" in ran.stdout
    assert ran.stdout.endswith(f"{threads} cores, all trained\n")
    log = (tmp_path / "demo.log").read_text()
    assert [path.name for path in tmp_path.glob("demo.log*")] == ["demo.log"]
    for fold in range(5):
        said = [f"fold {fold} says {line} with {each} thread(s)" for line in range(1, 6)]
        assert "\n".join(said) in log
        assert f"fold {fold}:\n" + "\n".join(said[2:]) in ran.stdout


def test_a_fold_that_fails_ends_the_demo_and_begins_no_other(tmp_path: Path) -> None:
    ran = trained(tmp_path, broken="1", OMP_NUM_THREADS="1")
    assert ran.returncode != 0
    assert "fold 1 is broken" in ran.stdout
    assert "fold 1 is broken" in (tmp_path / "demo.log").read_text()
    assert "all trained" not in ran.stdout
    assert sorted(path.name for path in tmp_path.glob("fold *")) == ["fold 0", "fold 1"]
