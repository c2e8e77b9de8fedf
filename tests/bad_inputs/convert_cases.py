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


def second(name: str, spoil: files.Spoil) -> Callable[[Path], object]:
    """Two patients; a file of the second is bad."""
    return lambda here: spoil(two(here) / name)


def all_channels(spoil: files.Spoil) -> Callable[[Path], object]:
    def make(here: Path) -> None:
        patient = two(here)
        for path in patient.glob("brain_*"):
            spoil(path)

    return make


def excluded(title: str, make: Callable[[Path], object], report: str, words: str = CALL) -> BadInput:
    return BadInput(title, words, (), make, 0, report, makes=(f"{DATASET}/*",))


def refused(title: str, words: str, says: str, make: Callable[[Path], object] = nothing, **more: object) -> BadInput:
    return BadInput(title, words, (f"comnet: error: {says}",), make, **more)  # type: ignore[arg-type]


def _without(name: str) -> Callable[[Path], object]:
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


def _layout(content: str) -> Callable[[Path], object]:
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


def _file_instead(name: str) -> Callable[[Path], object]:
    def make(here: Path) -> None:
        two(here)
        (here / name).write_text("a file")

    return make


def _metadata(text: str) -> Callable[[Path], object]:
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


def _good_layout_but(**changed: object) -> Callable[[Path], object]:
    return _layout(json.dumps({**GOOD_LAYOUT, **changed}))


PATIENTS = (
    excluded(
        "a bit turned over in a compressed image",
        second(T1, files.damaged_gzip),
        "brain_t1.nii.gz cannot be read: its gzip stream is damaged",
    ),
    excluded(
        "an image cut in half", second(T1C, files.cut), "brain_t1ce.nii.gz cannot be read: its gzip stream is cut off"
    ),
    excluded(
        "half of the voxels missing",
        second(T1C, files.cut_inside),
        "brain_t1ce.nii.gz cannot be read: it ends after 13792 of 27232 bytes",
    ),
    excluded("an image of zero bytes", second(FLAIR, files.empty), "brain_flair.nii.gz cannot be read: it is empty"),
    excluded("a text file named .nii.gz", second(T1, files.text), "brain_t1.nii.gz cannot be read: it is not gzipped"),
    excluded(
        "a text file, compressed, named .nii.gz",
        second(T1, files.zipped_text),
        "brain_t1.nii.gz cannot be read: it is no NIfTI image",
    ),
    excluded(
        "an image with two axes",
        second(T1, files.with_voxels(lambda data: data[..., 10])),
        "brain_t1.nii.gz has 2 axes, shape (24, 28); expected a 3-D volume",
    ),
    excluded(
        "four axes with one volume",
        second(T1, _four_axes(1)),
        "brain_t1.nii.gz has 4 axes, shape (24, 28, 20, 1); expected a 3-D volume",
    ),
    excluded(
        "four axes with five volumes",
        second(T1, _four_axes(5)),
        "brain_t1.nii.gz has 4 axes, shape (24, 28, 20, 5); expected a 3-D volume",
    ),
    excluded(
        "a header that claims 32767 x 32767 x 32767 voxels",
        second(T1, files.with_header(files.DIM, "4h", 3, 32767, 32767, 32767)),
        "brain_t1.nii.gz cannot be read: its header claims 32767 x 32767 x 32767 voxels, more than the 536870912 "
        "that are read",
    ),
    excluded(
        "an axis of no voxels",
        second(T1, files.with_header(files.DIM, "4h", 3, 24, 0, 20)),
        "brain_t1.nii.gz cannot be read: its header says 24 x 0 x 20 voxels",
    ),
    excluded(
        "an axis of minus 20 voxels",
        second(T1, files.with_header(files.DIM, "4h", 3, 24, 28, -20)),
        "brain_t1.nii.gz cannot be read: its header says 24 x 28 x -20 voxels",
    ),
    excluded(
        "a data type that NIfTI does not know",
        second(T1, files.with_header(files.DATATYPE, "h", 77)),
        "brain_t1.nii.gz cannot be read: its data type 77 is none of NIfTI's",
    ),
    excluded(
        "colours instead of numbers",
        second(T1, files.with_header(files.DATATYPE, "hh", 128, 24)),
        "brain_t1.nii.gz cannot be read: it ends after 27232 of 40672 bytes",
    ),
    excluded(
        "a voxel that is NaN",
        second(T1, files.one_voxel(np.nan)),
        "T1n (brain_t1.nii.gz) has 1 voxels that are NaN or infinite",
    ),
    excluded(
        "a voxel that is infinite",
        second(T1C, files.one_voxel(np.inf)),
        "T1c (brain_t1ce.nii.gz) has 1 voxels that are NaN or infinite",
    ),
    excluded(
        "an image of zeros",
        second(T1, files.with_voxels(np.zeros_like)),
        "T1n (brain_t1.nii.gz) has the same value, 0, in all voxels",
    ),
    excluded("a channel missing", _without(FLAIR), "FLAIR is missing: no file BT0002/brain_flair.nii[.gz]"),
    excluded(
        "the same scan under two channels' names", _doubled_channel, "T1n and T1c hold the same values voxel by voxel"
    ),
    excluded(
        "a channel there twice, .nii and .nii.gz",
        _two_files_of_a_channel,
        "case BT0002 has one file too many: <HERE>/source/BT0002/brain_t1.nii and "
        "<HERE>/source/BT0002/brain_t1.nii.gz; keep one of them",
    ),
    excluded(
        "a patient in two places",
        _same_case_twice,
        "case BT0002 is in several places: <HERE>/source/BT0002 and <HERE>/source/copy/BT0002",
    ),
    excluded(
        "channels that are folders",
        _swapped_folders,
        "T1n is missing: no file BT0002/brain_t1.nii[.gz] | T1c is missing: no file BT0002/brain_t1ce.nii[.gz] | T2w "
        "is missing: no file BT0002/brain_t2.nii[.gz] | FLAIR is missing: no file BT0002/brain_flair.nii[.gz]",
    ),
    excluded("a channel that is a link to nothing", _link_out, "T1n is missing: no file BT0002/brain_t1.nii[.gz]"),
    excluded("a channel that is a FIFO", second(T1, files.pipe), "T1n is missing: no file BT0002/brain_t1.nii[.gz]"),
    excluded("a channel that is a socket", second(T1, files.plug), "T1n is missing: no file BT0002/brain_t1.nii[.gz]"),
    excluded(
        "a channel on another grid",
        second(T1C, files.with_affine(files.shifted)),
        "brain_t1ce.nii.gz does not lie on the grid of brain_t1.nii.gz: origin in mm (0, 239, 0) against (0, 239, 5)",
    ),
    excluded(
        "a channel mirrored",
        second(T1C, files.with_affine(files.mirrored)),
        "brain_t1ce.nii.gz does not lie on the grid of brain_t1.nii.gz: direction (-1, 0, 0, 0, -1, 0, 0, 0, 1) "
        "against (1, 0, 0, 0, -1, 0, 0, 0, 1)",
    ),
    excluded(
        "a singular affine",
        second(T1, files.with_affine(files.flat)),
        "brain_t1.nii.gz: the affine is singular or not finite",
    ),
    excluded(
        "a sheared affine",
        second(T1, files.with_affine(files.sheared)),
        "brain_t1.nii.gz: qform and sform place the image differently (direction (-1, 0.371391, 0, 0, -0.928477, 0, "
        "0, 0, 1) against (-0.981956, 0.189108, 0, -0.189108, -0.981956, 0, 0, 0, 1))",
    ),
    excluded(
        "voxels of 0 mm",
        second(T1, files.with_header(files.PIXDIM + 4, "3f", 0, 1, 1)),
        "brain_t1.nii.gz cannot be read: its voxels measure 0 x 1 x 1 mm; each must be above 0",
    ),
    excluded(
        "voxels of minus 1 mm",
        second(T1, files.with_header(files.PIXDIM + 4, "3f", -1, 1, 1)),
        "brain_t1.nii.gz cannot be read: its voxels measure -1 x 1 x 1 mm; each must be above 0",
    ),
    excluded(
        "voxels of NaN mm",
        second(T1, files.with_header(files.PIXDIM + 4, "3f", np.nan, 1, 1)),
        "brain_t1.nii.gz cannot be read: its voxels measure nan x 1 x 1 mm; each must be above 0",
    ),
    excluded(
        "neither qform nor sform",
        second(T1, files.with_header(252, "2h", 0, 0)),
        "brain_t1.nii.gz: neither qform nor sform is set, so left and right are unknown; copy the header of the "
        "original scan",
    ),
    excluded(
        "qform and sform that disagree",
        second(T1, _other_geometries),
        "brain_t1.nii.gz: qform and sform place the image differently (origin in mm (0, 239, 0) against (30, 239, 0))",
    ),
    excluded(
        "no mask",
        _without(MASK),
        "no mask: no file {case}/rtumorseg_manual_correction.nii[.gz] or {case}/tumorseg_manual_correction.nii[.gz] "
        "or {case}/tumorseg_FeTS.nii[.gz]",
    ),
    excluded(
        "a mask without tumour",
        second(MASK, files.with_voxels(np.zeros_like)),
        "tumorseg_FeTS.nii.gz holds no tumour (--keep-empty converts it)",
    ),
    excluded(
        "a mask on another grid",
        second(MASK, files.with_affine(files.shifted)),
        "tumorseg_FeTS.nii.gz does not lie on the grid of brain_t1.nii.gz: origin in mm (0, 239, 0) against (0, 239, "
        "5)",
    ),
    excluded(
        "a mask of another size",
        second(MASK, files.with_voxels(lambda mask: mask[:-1])),
        "tumorseg_FeTS.nii.gz does not lie on the grid of brain_t1.nii.gz: shape (24, 28, 20) against (23, 28, 20)",
    ),
    excluded(
        "a mask with label 7",
        second(MASK, _labels(_2=7)),
        "tumorseg_FeTS.nii.gz has labels without a documented meaning: 7 (338 voxels); known are [0, 1, 2, 4], "
        "--label-map adds others",
    ),
    excluded(
        "a mask with a label below 0",
        second(MASK, files.one_voxel(-1)),
        "tumorseg_FeTS.nii.gz has labels without a documented meaning: -1 (1 voxels); known are [0, 1, 2, 4], "
        "--label-map adds others",
    ),
    excluded(
        "a mask with label 1e30",
        second(MASK, files.one_voxel(1e30)),
        "tumorseg_FeTS.nii.gz has labels without a documented meaning: 1e+30 (1 voxels); known are [0, 1, 2, 4], "
        "--label-map adds others",
    ),
    excluded(
        "a mask with half labels",
        second(MASK, files.one_voxel(1.5)),
        "tumorseg_FeTS.nii.gz has 1 voxels whose label is no integer, e.g. 1.5; it was probably interpolated",
    ),
    excluded(
        "a mask with NaN",
        second(MASK, files.one_voxel(np.nan)),
        "tumorseg_FeTS.nii.gz has 1 voxels that are NaN or infinite",
    ),
    excluded(
        "a tumour outside the brain",
        second(MASK, files.with_voxels(lambda mask: np.roll(mask, 11, axis=0))),
        "tumorseg_FeTS.nii.gz: 17.3 % of the tumour (84 of 485 voxels) lies where every channel is 0 | inside the "
        "enhancing tumour T1c exceeds T1n by -0.10 standard deviations (expected 0.25 or more): T1n and T1c, "
        "or the labels, may be swapped",
    ),
)

COMMANDS = (
    refused(
        "no such source",
        "comnet convert utsw <HERE>/absent -d 501",
        "SOURCE <HERE>/absent is not there; give the folder that holds the patients' folders (unpack archives first)",
        shell=True,
    ),
    refused(
        "a source that is a file",
        "comnet convert utsw <HERE>/file -d 501",
        "SOURCE <HERE>/file is a file; give the folder that holds the patients' folders (unpack archives first)",
        _file_instead("file"),
    ),
    refused(
        "an empty source",
        "comnet convert utsw <HERE>/raw -d 501",
        "no case of layout utsw below <HERE>/raw: looked for files whose path ends like {case}/brain_t1.nii[.gz], "
        "{case}/brain_t1ce.nii[.gz], {case}/brain_t2.nii[.gz], {case}/brain_flair.nii[.gz], where {case} "
        "matches BT\\d{4}; is the layout right, and SOURCE the folder above the patients' folders?",
    ),
    refused(
        "the wrong layout",
        "comnet convert brats2023 <HERE>/source -d 501",
        "no case of layout brats2023 below <HERE>/source: looked for files whose path ends like "
        "{case}/{case}-t1n.nii[.gz], {case}/{case}-t1c.nii[.gz], {case}/{case}-t2w.nii[.gz], "
        "{case}/{case}-t2f.nii[.gz], where {case} matches BraTS-(?:GLI|MEN|MET|SSA)-\\d{5}-\\d{3}; is the "
        "layout right, and SOURCE the folder above the patients' folders?",
        two,
    ),
    refused(
        "no such layout",
        "comnet convert utswe <HERE>/source -d 501",
        "unknown layout 'utswe'; the layouts are: utsw, brats2018, brats2019, brats2020, brats2021, brats2023, "
        "brats2024-gli, brats2024-met, brats2024-ped, brats-goat, brats-africa, ucsf-pdgm, upenn-gbm, "
        "msd-task01, custom",
        two,
    ),
    refused(
        "dataset id 0",
        "comnet convert utsw <HERE>/source -d 0",
        "dataset id 0 cannot be used; choose one from 1 to 999 (-d)",
        two,
    ),
    refused(
        "dataset id in words",
        "comnet convert utsw <HERE>/source -d five",
        "Invalid value for '-d' / '--dataset-id': <...>; see comnet convert --help",
        two,
        code=2,
    ),
    refused(
        "an id that another dataset has",
        CALL,
        "<HERE>/raw already has Dataset501_Other under id 501, and nnU-Net wants each id once; choose another id "
        "(-d), or remove that folder",
        _taken_id,
    ),
    refused(
        "a target with other contents",
        CALL,
        "<HERE>/raw/Dataset501_UTSWGlioma has contents that this command did not write; choose another id or name, "
        "or --overwrite",
        _foreign_contents,
    ),
    refused(
        "nnUNet_raw not set",
        CALL,
        "nnUNet_raw is not set; export nnUNet_raw=/a/folder of yours, or give --out FOLDER",
        two,
        env={"nnUNet_raw": None},
    ),
    refused(
        "nnUNet_raw names a file",
        CALL,
        "the output <HERE>/file is a file; --out (or nnUNet_raw) must be a folder",
        _file_instead("file"),
        env={"nnUNet_raw": "<HERE>/file"},
    ),
    refused(
        "a dataset's name with a slash",
        CALL + " --name a/b",
        "dataset name 'a/b' cannot be used; it takes letters, digits, '_' and '-' (--name)",
        two,
    ),
    refused(
        "a label map that is none",
        CALL + " --label-map 3=1",
        "--label-map '3=1' is not of the form 3:1,5:0 (source label:written label)",
        two,
    ),
    refused(
        "no such label policy",
        CALL + " --label-policy best",
        "layout utsw has no label policy 'best'; its policies are: manual-else-fets, manual-only, fets-only",
        two,
    ),
    refused(
        "no such variant", CALL + " --variant raw", "layout utsw has no variant 'raw'; its variants are: ants", two
    ),
    refused(
        "0 processes",
        "comnet convert utsw <HERE>/source -d 501 --jobs 0",
        "0 jobs cannot run; give --jobs 1 or more",
        two,
    ),
    refused("1 fold", CALL + " --folds 1", "--folds 1 cannot be used; cross-validation needs 2 or more", two),
    refused(
        "a tolerance that is not a number",
        CALL + " --tolerance nan",
        "--tolerance nan cannot be used; it is a number from 0",
        two,
    ),
    refused(
        "no such metadata",
        CALL + " --metadata <HERE>/absent.csv",
        "the metadata file <HERE>/absent.csv cannot be read: No such file or directory",
        two,
    ),
    refused(
        "metadata with two rows of a patient",
        CALL + " --metadata <HERE>/table.csv",
        "the metadata file <HERE>/table.csv has two different rows for 'BT0001'; keep one",
        _metadata("Subject ID,Age\nBT0001,50\nBT0001,60\n"),
    ),
    refused(
        "metadata that is an image",
        CALL + " --metadata <HERE>/source/BT0001/" + T1,
        "the metadata file <HERE>/source/BT0001/brain_t1.nii.gz is not text in UTF-8; save it as TSV or CSV",
        two,
    ),
    refused(
        "no such column to stratify by",
        CALL + " --metadata <HERE>/table.csv --stratify Sex",
        "--stratify: <HERE>/table.csv has no column 'Sex'; it has: Age",
        _metadata("Subject ID,Age\nBT0001,50\n"),
    ),
    refused(
        "a layout file that is not YAML",
        CUSTOM,
        "the layout file <HERE>/layout.yaml is not valid YAML: while parsing a flow node expected the node content, "
        "but found '<stream end>' in \"<unicode string>\", line 1, column 8: name: [ ^",
        _layout("name: ["),
    ),
    refused(
        "a layout file that is a list",
        CUSTOM,
        "the layout file <HERE>/layout.yaml must hold keys such as name, case, channels, masks, labels",
        _layout("- name"),
    ),
    refused(
        "a layout without masks",
        CUSTOM,
        "the layout file <HERE>/layout.yaml cannot be used: masks: List should have at least 1 item after "
        "validation, not 0",
        _good_layout_but(masks=[]),
    ),
    refused(
        "a layout with a key too many",
        CUSTOM,
        "the layout file <HERE>/layout.yaml cannot be used: modality: Extra inputs are not permitted",
        _good_layout_but(modality="MR"),
    ),
    refused(
        "a layout whose expression is none",
        CUSTOM,
        "the layout file <HERE>/layout.yaml cannot be used: case: '(' is not a regular expression: missing ), "
        "unterminated subpattern at position 0",
        _good_layout_but(case="("),
    ),
    refused(
        "a layout that would run code",
        CUSTOM,
        "the layout file <HERE>/layout.yaml is not valid YAML: could not determine a constructor for the tag "
        "'tag:yaml.org,2002:python/object/apply:os.system' in \"<unicode string>\", line 1, column 1: "
        "!!python/object/apply:os.system ... ^",
        _layout("!!python/object/apply:os.system ['touch owned']"),
    ),
    refused(
        "every patient excluded",
        CALL,
        "no case could be converted; the reasons are above and in the report",
        lambda here: files.cut(Path(write_utsw(here / "source", "BT0002", 2) and here / "source/BT0002" / T1)),
        makes=(f"{DATASET}/conversion_report.*", f"{DATASET}/.comnet/*"),
    ),
    refused(
        "a patient excluded under --strict",
        CALL + " --strict",
        "--strict: 1 cases were excluded (the others are written)",
        second(T1, files.cut),
        makes=(f"{DATASET}/*",),
    ),
)

GOOD = (BadInput("links in a circle", CALL, (), _loops, 0, makes=(f"{DATASET}/*",)),)
CASES = (*PATIENTS, *COMMANDS, *GOOD)
