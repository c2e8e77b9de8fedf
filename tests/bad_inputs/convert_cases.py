"""Bad inputs of `comnet convert`: a patient with a defect is excluded with its reason, the other one is converted."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.bad_inputs import files
from tests.bad_inputs.case import BadInput, nothing
from tests.dataset_conversion.tiny_patients import BRATS_AFFINE, save, write_utsw

T1, T1C, FLAIR, MASK = "brain_t1.nii.gz", "brain_t1ce.nii.gz", "brain_flair.nii.gz", "tumorseg_FeTS.nii.gz"
CALL = "comnet convert utsw <HERE>/source -d 501 --jobs 1"
DATASET = "raw/Dataset501_UTSWGlioma"


def two(here: Path) -> Path:
    """Two good patients; returns the folder of the second, which is to be spoilt."""
    write_utsw(here / "source", "BT0001", 1)
    write_utsw(here / "source", "BT0002", 2)
    return here / "source" / "BT0002"


def second(name: str, spoil: files.Spoil) -> Callable[[Path], None]:
    """Two patients; a file of the second is bad."""
    return lambda here: spoil(two(here) / name)


def all_channels(spoil: files.Spoil) -> Callable[[Path], None]:
    def make(here: Path) -> None:
        patient = two(here)
        for path in patient.glob("brain_*"):
            spoil(path)

    return make


def excluded(title: str, make: Callable[[Path], None], report: str, words: str = CALL) -> BadInput:
    return BadInput(title, words, (), make, 0, report, makes=(f"{DATASET}/*",))


def refused(title: str, words: str, says: str, make: Callable[[Path], None] = nothing, **more: object) -> BadInput:
    return BadInput(title, words, (f"comnet: error: {says}",), make, **more)  # type: ignore[arg-type]


def _without(name: str) -> Callable[[Path], None]:
    return lambda here: (two(here) / name).unlink()


def _doubled_channel(here: Path) -> None:
    patient = two(here)
    (patient / T1C).write_bytes((patient / T1).read_bytes())


def _two_files_of_a_channel(here: Path) -> None:
    patient = two(here)
    (patient / "brain_t1.nii").write_bytes(b"")


def _same_case_twice(here: Path) -> None:
    two(here)
    write_utsw(here / "source" / "copy", "BT0002", 2)


def _four_axes(volumes: int) -> files.Spoil:
    return files.with_voxels(lambda data: np.stack([data] * volumes, axis=-1))


def _labels(**swapped: int) -> files.Spoil:
    def change(mask: np.ndarray) -> np.ndarray:
        for old, new in swapped.items():
            mask[mask == int(old[1:])] = new
        return mask

    return files.with_voxels(change)


def _other_geometries(path: Path) -> None:
    turned = BRATS_AFFINE.copy()
    turned[:3, 3] += [30, 0, 0]
    save(path, np.asarray(np.random.default_rng(0).integers(0, 99, (24, 28, 20)), np.int16), qform=turned)


def _swapped_folders(here: Path) -> None:
    """Every channel is a folder that holds the file."""
    patient = two(here)
    for path in sorted(patient.glob("brain_*")):
        moved = path.read_bytes()
        files.folder(path)
        (path / path.name).write_bytes(moved)


def _link_out(here: Path) -> None:
    """A link that points nowhere."""
    path = two(here) / T1
    path.unlink()
    path.symlink_to(here / "gone.nii.gz")


def _layout(content: str) -> Callable[[Path], None]:
    def make(here: Path) -> None:
        two(here)
        (here / "layout.yaml").write_text(content)

    return make


def _taken_id(here: Path) -> None:
    two(here)
    (here / "raw" / "Dataset501_Other").mkdir()


def _foreign_contents(here: Path) -> None:
    two(here)
    (here / DATASET / "imagesTr").mkdir(parents=True)
    (here / DATASET / "imagesTr" / "MINE_0000.nii.gz").write_bytes(b"mine")


def _file_instead(name: str) -> Callable[[Path], None]:
    def make(here: Path) -> None:
        two(here)
        (here / name).write_text("a file")

    return make


def _metadata(text: str) -> Callable[[Path], None]:
    def make(here: Path) -> None:
        two(here)
        (here / "table.csv").write_text(text)

    return make


def _loops(here: Path) -> None:
    """Links in a circle, and one that leaves the source to the folder above it."""
    patient = two(here)
    (patient.parent / "again").symlink_to(patient.parent)
    (patient / "self").symlink_to("self")


CUSTOM = "comnet convert custom <HERE>/source -d 501 --jobs 1 --layout-file <HERE>/layout.yaml"
GOOD_LAYOUT = {
    "name": "mine",
    "case": "BT\\d{4}",
    "channels": {
        name: f"{{case}}/{file}[.gz]"
        for name, file in (
            ("T1n", "brain_t1.nii"), ("T1c", "brain_t1ce.nii"), ("T2w", "brain_t2.nii"), ("FLAIR", "brain_flair.nii"),
        )
    },
    "masks": [{"kind": "fets", "files": "{case}/tumorseg_FeTS.nii[.gz]"}],
    "labels": "brats-1-2-4",
}  # fmt: skip


def _good_layout_but(**changed: object) -> Callable[[Path], None]:
    return _layout(json.dumps({**GOOD_LAYOUT, **changed}))


PATIENTS = (
    excluded("a bit turned over in a compressed image", second(T1, files.damaged_gzip), "?1"),
    excluded("an image cut in half", second(T1C, files.cut), "?2"),
    excluded("half of the voxels missing", second(T1C, files.cut_inside), "?3"),
    excluded("an image of zero bytes", second(FLAIR, files.empty), "?4"),
    excluded("a text file named .nii.gz", second(T1, files.text), "?5"),
    excluded("a text file, compressed, named .nii.gz", second(T1, files.zipped_text), "?6"),
    excluded("an image with two axes", second(T1, files.with_voxels(lambda data: data[..., 10])), "?7"),
    excluded("four axes with one volume", second(T1, _four_axes(1)), "?8"),
    excluded("four axes with five volumes", second(T1, _four_axes(5)), "?9"),
    excluded("a header that claims 32767 x 32767 x 32767 voxels", second(T1, files.with_header(files.DIM, "4h", 3, 32767, 32767, 32767)), "?10"),
    excluded("an axis of no voxels", second(T1, files.with_header(files.DIM, "4h", 3, 24, 0, 20)), "?11"),
    excluded("an axis of minus 20 voxels", second(T1, files.with_header(files.DIM, "4h", 3, 24, 28, -20)), "?12"),
    excluded("a data type that NIfTI does not know", second(T1, files.with_header(files.DATATYPE, "h", 77)), "?13"),
    excluded("colours instead of numbers", second(T1, files.with_header(files.DATATYPE, "hh", 128, 24)), "?14"),
    excluded("a voxel that is NaN", second(T1, files.one_voxel(np.nan)), "?15"),
    excluded("a voxel that is infinite", second(T1C, files.one_voxel(np.inf)), "?16"),
    excluded("an image of zeros", second(T1, files.with_voxels(np.zeros_like)), "?17"),
    excluded("a channel missing", _without(FLAIR), "?18"),
    excluded("the same scan under two channels' names", _doubled_channel, "?19"),
    excluded("a channel there twice, .nii and .nii.gz", _two_files_of_a_channel, "?20"),
    excluded("a patient in two places", _same_case_twice, "?21"),
    excluded("channels that are folders", _swapped_folders, "?22"),
    excluded("a channel that is a link to nothing", _link_out, "?23"),
    excluded("a channel that is a FIFO", second(T1, files.pipe), "?24"),
    excluded("a channel that is a socket", second(T1, files.plug), "?25"),
    excluded("a channel on another grid", second(T1C, files.with_affine(files.shifted)), "?26"),
    excluded("a channel mirrored", second(T1C, files.with_affine(files.mirrored)), "?27"),
    excluded("a singular affine", second(T1, files.with_affine(files.flat)), "?28"),
    excluded("a sheared affine", second(T1, files.with_affine(files.sheared)), "?29"),
    excluded("voxels of 0 mm", second(T1, files.with_header(files.PIXDIM + 4, "3f", 0, 1, 1)), "?30"),
    excluded("voxels of minus 1 mm", second(T1, files.with_header(files.PIXDIM + 4, "3f", -1, 1, 1)), "?31"),
    excluded("voxels of NaN mm", second(T1, files.with_header(files.PIXDIM + 4, "3f", np.nan, 1, 1)), "?32"),
    excluded("neither qform nor sform", second(T1, files.with_header(252, "2h", 0, 0)), "?33"),
    excluded("qform and sform that disagree", second(T1, _other_geometries), "?34"),
    excluded("no mask", _without(MASK), "?35"),
    excluded("a mask without tumour", second(MASK, files.with_voxels(np.zeros_like)), "?36"),
    excluded("a mask on another grid", second(MASK, files.with_affine(files.shifted)), "?37"),
    excluded("a mask of another size", second(MASK, files.with_voxels(lambda mask: mask[:-1])), "?38"),
    excluded("a mask with label 7", second(MASK, _labels(_2=7)), "?39"),
    excluded("a mask with a label below 0", second(MASK, files.one_voxel(-1)), "?40"),
    excluded("a mask with label 1e30", second(MASK, files.one_voxel(1e30)), "?41"),
    excluded("a mask with half labels", second(MASK, files.one_voxel(1.5)), "?42"),
    excluded("a mask with NaN", second(MASK, files.one_voxel(np.nan)), "?43"),
    excluded("a tumour outside the brain", second(MASK, files.with_voxels(lambda mask: np.roll(mask, 11, axis=0))), "?44"),
)

COMMANDS = (
    refused("no such source", "comnet convert utsw <HERE>/absent -d 501", "?45", shell=True),
    refused("a source that is a file", "comnet convert utsw <HERE>/file -d 501", "?46", _file_instead("file")),
    refused("an empty source", "comnet convert utsw <HERE>/raw -d 501", "?47"),
    refused("the wrong layout", "comnet convert brats2023 <HERE>/source -d 501", "?48", two),
    refused("no such layout", "comnet convert utswe <HERE>/source -d 501", "?49", two),
    refused("dataset id 0", "comnet convert utsw <HERE>/source -d 0", "?50", two),
    refused("dataset id in words", "comnet convert utsw <HERE>/source -d five", "?51", two, code=2),
    refused("an id that another dataset has", CALL, "?52", _taken_id),
    refused("a target with other contents", CALL, "?53", _foreign_contents),
    refused("nnUNet_raw not set", CALL, "?54", two, env={"nnUNet_raw": None}),
    refused("nnUNet_raw names a file", CALL, "?55", _file_instead("file"), env={"nnUNet_raw": "<HERE>/file"}),
    refused("a dataset's name with a slash", CALL + " --name a/b", "?56", two),
    refused("a label map that is none", CALL + " --label-map 3=1", "?57", two),
    refused("no such label policy", CALL + " --label-policy best", "?58", two),
    refused("no such variant", CALL + " --variant raw", "?59", two),
    refused("0 processes", "comnet convert utsw <HERE>/source -d 501 --jobs 0", "?60", two),
    refused("1 fold", CALL + " --folds 1", "?61", two),
    refused("a tolerance that is not a number", CALL + " --tolerance nan", "?62", two),
    refused("no such metadata", CALL + " --metadata <HERE>/absent.csv", "?63", two),
    refused("metadata with two rows of a patient", CALL + " --metadata <HERE>/table.csv", "?64",
            _metadata("Subject ID,Age\nBT0001,50\nBT0001,60\n")),
    refused("metadata that is an image", CALL + " --metadata <HERE>/source/BT0001/" + T1, "?65", two),
    refused("no such column to stratify by", CALL + " --metadata <HERE>/table.csv --stratify Sex", "?66",
            _metadata("Subject ID,Age\nBT0001,50\n")),
    refused("a layout file that is not YAML", CUSTOM, "?67", _layout("name: [")),
    refused("a layout file that is a list", CUSTOM, "?68", _layout("- name")),
    refused("a layout without masks", CUSTOM, "?69", _good_layout_but(masks=[])),
    refused("a layout with a key too many", CUSTOM, "?70", _good_layout_but(modality="MR")),
    refused("a layout whose expression is none", CUSTOM, "?71", _good_layout_but(case="(")),
    refused("a layout that would run code", CUSTOM, "?72", _layout("!!python/object/apply:os.system ['touch owned']")),
    refused("every patient excluded", CALL, "?73",
            lambda here: files.cut(Path(write_utsw(here / "source", "BT0002", 2) and here / "source/BT0002" / T1)),
            makes=(f"{DATASET}/conversion_report.*", f"{DATASET}/.comnet/*")),
    refused("a patient excluded under --strict", CALL + " --strict", "?74", second(T1, files.cut), makes=(f"{DATASET}/*",)),
)

GOOD = (
    BadInput("links in a circle", CALL, (), _loops, 0, makes=(f"{DATASET}/*",)),
)
CASES = (*PATIENTS, *COMMANDS, *GOOD)
