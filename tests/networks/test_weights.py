"""Loading: official key names and their peculiarities, UpKern, heads, the two forms of GRN, refusals."""

import mednext_formulas as formulas
import pytest
import torch
import torch.nn.functional as F

from nnunetv2_comnet.errors import ConfigurationError
from nnunetv2_comnet.networks import load_mednext_weights, upkern


def _as_official(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """As the official code saves it: a dummy scalar, biases before the norms, the names of its wrappers."""
    state = {**state, "dummy_tensor": torch.ones(1)}
    for key, value in state.items():
        if key.endswith("conv1.bias"):
            state[key] = torch.randn(value.shape)
    return state


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_an_official_checkpoint_gives_the_same_output(small_network, image, prefix: str) -> None:
    official = _as_official(small_network("S", grn_in_first_down=False).state_dict())
    network = small_network("S")
    report = load_mednext_weights(network, {prefix + key: value for key, value in official.items()})
    with torch.no_grad():
        for a, b in zip(network(image), formulas.network(image, official), strict=True):
            torch.testing.assert_close(a, b, atol=1e-4, rtol=0)
    assert not report.interpolated
    assert {key for key in report.skipped if not key.endswith("conv1.bias")} == {"down_0.grn_gamma", "down_0.grn_beta"}
    assert not network.down_0.grn_gamma.any()
    assert len(report.loaded) + len(report.skipped) == len(network.state_dict())


@pytest.mark.parametrize("container", ["network_weights", "state_dict"])
def test_a_checkpoint_of_nnunet_is_opened(small_network, container: str) -> None:
    source, target = small_network("S"), small_network("S")
    with torch.no_grad():
        source.stem.weight += 1
    load_mednext_weights(target, {container: source.state_dict(), "current_epoch": 3})
    torch.testing.assert_close(target.state_dict(), source.state_dict())


def test_upkern_by_hand(small_network) -> None:
    # Along one axis the new kernel samples the old at (i + 0.5) * 3/5 - 0.5 = -0.2, 0.4, 1, 1.6, 2.2, within [0, 2]:
    along = torch.tensor([[1.0, 0, 0], [0.6, 0.4, 0], [0, 1, 0], [0, 0.4, 0.6], [0, 0, 1]])
    source, target = small_network("S"), small_network("S", kernel_size=5)
    report = upkern(source.state_dict(), target)
    names = [key for key in source.state_dict() if key.endswith("conv1.weight")]
    assert set(report.interpolated) == set(names)
    for key in names:
        expected = torch.einsum("xa,yb,zc,oiabc->oixyz", along, along, along, source.state_dict()[key])
        torch.testing.assert_close(target.state_dict()[key], expected, atol=1e-6, rtol=1e-5)
        direct = F.interpolate(source.state_dict()[key], size=(5, 5, 5), mode="trilinear")
        torch.testing.assert_close(target.state_dict()[key], direct)
    for key in source.state_dict().keys() - set(names):
        torch.testing.assert_close(target.state_dict()[key], source.state_dict()[key])


def test_upkern_leaves_a_constant_kernel_constant(small_network) -> None:
    source, target = small_network("S"), small_network("S", kernel_size=5)
    with torch.no_grad():
        source.up_0.conv1.weight.fill_(0.25)
    upkern(source.state_dict(), target)
    torch.testing.assert_close(target.up_0.conv1.weight, torch.full_like(target.up_0.conv1.weight, 0.25))


def test_upkern_grows_kernels_only(small_network) -> None:
    with pytest.raises(ConfigurationError):
        load_mednext_weights(small_network("S"), small_network("S", kernel_size=5).state_dict())
    with pytest.raises(ConfigurationError):
        upkern(small_network("S").state_dict(), small_network("S"))


def test_heads_of_another_class_count_are_skipped_and_said(small_network) -> None:
    source, target = small_network("S", out_channels=13), small_network("S")
    before = {key: value.clone() for key, value in target.state_dict().items() if key.startswith("out_")}
    report = load_mednext_weights(target, source.state_dict())
    assert {key for key, why in report.skipped.items() if why == "another class count"} == set(before)
    assert len(before) == 10
    torch.testing.assert_close({key: target.state_dict()[key] for key in before}, before)
    torch.testing.assert_close(target.stem.weight, source.stem.weight)


def test_coarse_heads_may_be_missing_on_either_side(small_network) -> None:
    one_head, five_heads = small_network("S", deep_supervision=False), small_network("S")
    report = load_mednext_weights(five_heads, one_head.state_dict())
    assert sum("no such head" in why for why in report.skipped.values()) == 8
    report = load_mednext_weights(one_head, five_heads.state_dict())
    assert sum("no such head" in why for why in report.skipped.values()) == 8


def test_grn_is_added_as_the_identity(small_network, image) -> None:
    source, target = small_network("S", grn=False), small_network("S")
    load_mednext_weights(target, source.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(target(image), source(image), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("source_form", "target_form"), [("sum", "mean"), ("mean", "sum"), ("sum", "sum")])
def test_the_forms_of_grn_are_converted_exactly(small_network, image, source_form: str, target_form: str) -> None:
    source, target = (small_network("S", grn_denominator=form) for form in (source_form, target_form))
    load_mednext_weights(target, source.state_dict(), source_denominator=source_form)
    with torch.no_grad():
        torch.testing.assert_close(target(image), source(image), atol=1e-5, rtol=1e-5)
    there_and_back = small_network("S", grn_denominator=source_form)
    load_mednext_weights(there_and_back, target.state_dict(), source_denominator=target_form)
    torch.testing.assert_close(there_and_back.state_dict(), source.state_dict(), atol=0, rtol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": "B"}, r"down_0\.grn_gamma .*\(1, 24, 1, 1, 1\).*\(1, 16, 1, 1, 1\)"),
        ({"size": "S", "in_channels": 1}, r"stem\.weight .*\(8, 1, 1, 1, 1\).*\(8, 4, 1, 1, 1\)"),
        ({"size": "S", "base_channels": 16}, "stem.weight"),
    ],
)
def test_another_network_is_refused_by_its_first_offending_key_and_nothing_changes(
    small_network, options: dict, message: str
) -> None:
    network = small_network("S")
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(ConfigurationError, match=message) as caught:
        load_mednext_weights(network, small_network(**options).state_dict())
    assert "\n" not in str(caught.value)
    torch.testing.assert_close(network.state_dict(), before, atol=0, rtol=0)


def test_missing_and_surplus_weights_are_named(small_network) -> None:
    network = small_network("S", grn=False)
    state = network.state_dict()
    with pytest.raises(ConfigurationError, match=r"bottleneck\.0\.grn_beta"):
        load_mednext_weights(network, small_network("S").state_dict())
    with pytest.raises(ConfigurationError, match=r"stem\.weight"):
        load_mednext_weights(network, {key: value for key, value in state.items() if key != "stem.weight"})
    with pytest.raises(ConfigurationError, match="epoch"):
        load_mednext_weights(network, {**state, "epoch": 3})
    with pytest.raises(ConfigurationError, match="mean, sum"):
        load_mednext_weights(network, state, source_denominator="max")
