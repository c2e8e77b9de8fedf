"""postprocessing.pkl is read without running it: nnU-Net's function and ours are known, nothing else."""

import builtins
import os
import pickle
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nnunetv2.postprocessing.remove_connected_components import remove_all_but_largest_component_from_segmentation

from nnunetv2_comnet.errors import ComnetError
from nnunetv2_comnet.postprocessing.rules import FillHoles
from nnunetv2_comnet.postprocessing.stock import apply_rule, read_pickle, write_pickle
from tests.trust.evil import Touch, works

REGIONS = {"whole tumor": (1, 2, 3), "tumor core": (1, 3), "enhancing tumor": (3,)}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_nnunets_own_pickle_is_read(tmp_path: Path, protocol: int) -> None:
    # As determine_postprocessing writes it: foreground together, then each region.
    keywords: list[dict[str, Any]] = [{"labels_or_regions": [(1, 2, 3), (1, 3), 3]}, {"labels_or_regions": 3}]
    functions = [remove_all_but_largest_component_from_segmentation] * 2
    (tmp_path / "p.pkl").write_bytes(pickle.dumps((functions, keywords), protocol=protocol))
    assert read_pickle(tmp_path / "p.pkl") == list(zip(functions, keywords, strict=True))


def test_our_own_pickle_is_read_as_pickle_reads_it(tmp_path: Path) -> None:
    write_pickle(tmp_path / "p.pkl", (FillHoles(region="whole tumor"),), REGIONS, 1.0)
    ((function, keywords),) = read_pickle(tmp_path / "p.pkl")
    functions, trusted = pickle.loads((tmp_path / "p.pkl").read_bytes())
    assert (function, keywords) == (functions[0], trusted[0]) == (apply_rule, keywords)
    ring = np.array([[2, 2, 2], [2, 0, 2], [2, 2, 2]], np.float32)
    mask = np.stack([np.full((3, 3), 2, np.float32), ring, np.full((3, 3), 2, np.float32)])
    assert np.array_equal(function(mask, **keywords), np.full((3, 3, 3), 2, np.float32))


class Calls:
    """Any other call that a pickle can ask for."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.arguments


def _evil(marker: Path) -> list[tuple[Any, str]]:
    return [
        (([Touch(marker)], [{}]), "posix.system"),
        (([os.system], [{"command": f"touch {marker}"}]), "posix.system"),
        (([subprocess.run], [{"args": ["touch", str(marker)]}]), "subprocess.run"),
        (([], Calls(builtins.eval, f"open({str(marker)!r}, 'w')")), "builtins.eval"),
        (([apply_rule], [{"rule": Calls(builtins.exec, "1"), "regions": {}}]), "builtins.exec"),
        (([np.save], [{"file": str(marker)}]), "numpy.save"),
        (([getattr], [{}]), "builtins.getattr"),
    ]


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("number", range(7))
def test_whatever_else_a_pickle_names_is_refused_by_name(tmp_path: Path, number: int, protocol: int) -> None:
    assert works(tmp_path)
    marker = tmp_path / "ran"
    content, name = _evil(marker)[number]
    (tmp_path / "p.pkl").write_bytes(pickle.dumps(content, protocol=protocol))
    # Old protocols use Python 2's names of modules.
    name = name.replace("builtins", "(builtins|__builtin__)").replace("subprocess", "(subprocess|commands)")
    with pytest.raises(ComnetError, match=rf"p\.pkl.*{name}") as caught:
        read_pickle(tmp_path / "p.pkl")
    assert "\n" not in str(caught.value)
    assert not marker.exists()


def test_a_dotted_name_does_not_lead_out_of_the_known_module(tmp_path: Path) -> None:
    module = b"nnunetv2_comnet.postprocessing.stock"
    content = b"\x80\x04\x8c" + bytes([len(module)]) + module + b"\x8c\x0cpickle.loads\x93."
    (tmp_path / "p.pkl").write_bytes(content)
    assert pickle.loads(content) is pickle.loads  # what a plain reader would have followed
    with pytest.raises(ComnetError, match=r"nnunetv2_comnet\.postprocessing\.stock\.pickle\.loads"):
        read_pickle(tmp_path / "p.pkl")


def test_a_known_function_is_not_called_by_the_pickle(tmp_path: Path) -> None:
    content = ([], Calls(remove_all_but_largest_component_from_segmentation, np.zeros(3).tolist(), 1))
    (tmp_path / "p.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(ComnetError, match=r"p\.pkl.*TypeError"):
        read_pickle(tmp_path / "p.pkl")


@pytest.mark.parametrize(
    "content", [b"", b"\x80", b"not a pickle", pickle.dumps(3), pickle.dumps(([], [{}])), pickle.dumps(([len], []))]
)
def test_another_file_is_told_in_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "p.pkl").write_bytes(content)
    with pytest.raises(ComnetError, match=r"^[^\n]*p\.pkl[^\n]*$"):
        read_pickle(tmp_path / "p.pkl")
