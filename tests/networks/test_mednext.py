"""The whole network: parameter counts, its formulas, sizes of input, precision, compilation, recomputation."""

import dataclasses
import pydoc

import mednext_formulas as formulas
import pytest
import torch
from random_weights import randomise

from nnunetv2_comnet.errors import ConfigurationError
from nnunetv2_comnet.losses import DeepSupervisionLoss, DSCPlusPlusBCELoss
from nnunetv2_comnet.networks import MedNeXt, MedNeXtConfig, grn, mednext, mednext_from_plans
from nnunetv2_comnet.networks.blocks import MedNeXtBlock
from nnunetv2_comnet.networks.experimental import triton

PLANS_STRIDES = [[1, 1, 1], [2, 2, 2], [2, 2, 2], [2, 2, 2], [2, 2, 2]]


def _count(**options: object) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in mednext(**options).parameters())


# The official code's counts for 1 channel in, 13 classes, deep supervision, without its dummy scalar.
@pytest.mark.parametrize(
    ("size", "kernel_size", "official"),
    [
        ("S", 3, 5_563_810),
        ("S", 5, 5_993_442),
        ("B", 3, 10_539_202),
        ("B", 5, 10_968_834),
        ("M", 3, 17_561_858),
        ("M", 5, 18_273_730),
        ("L", 3, 61_792_162),
        ("L", 5, 63_005_794),
    ],
)
def test_every_size_has_the_official_number_of_parameters(size: str, kernel_size: int, official: int) -> None:
    assert _count(size=size, kernel_size=kernel_size, in_channels=1, out_channels=13, grn=False) == official - 1


def test_the_papers_network_has_the_stated_number_of_parameters() -> None:
    assert _count(grn=False) == 10_529_327
    assert _count() == 10_562_799
    assert _count(grn_in_first_down=False) == 10_562_607
    assert mednext().config == MedNeXtConfig()


@pytest.mark.parametrize("form", ["mean", "sum"])
@pytest.mark.parametrize("kernel_size", [3, 5])
def test_the_network_is_its_formulas(small_network, image, kernel_size: int, form: str) -> None:
    network = small_network(kernel_size=kernel_size, grn_denominator=form)
    with torch.no_grad():
        ours, expected = network(image), formulas.network(image, network.state_dict(), form)
    for a, b in zip(ours, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=0)


def test_the_papers_network_is_its_formulas_in_output_and_gradients(small_network, image) -> None:
    network = small_network(base_channels=32)
    ours, expected = network(image[:1]), formulas.network(image[:1], dict(network.named_parameters()))
    for level, (a, b) in enumerate(zip(ours, expected, strict=True)):
        assert a.shape == (1, 3, *[32 // 2**level] * 3)
        torch.testing.assert_close(a, b, atol=1e-4, rtol=0)
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    gradients = (torch.autograd.grad(sum((y**2).mean() for y in out), trained) for out in (ours, expected))
    for a, b in zip(*gradients, strict=True):
        assert (a - b).norm() <= 1e-4 * max(b.norm(), 1e-3)


def test_monai_agrees_where_it_is_the_same_network(small_network, image) -> None:
    # MONAI's down block takes its ratio from the level above, so only size S (one ratio) is the same network.
    monai_nets = pytest.importorskip("monai.networks.nets")
    ours = small_network("S", grn=False, deep_supervision=False)
    theirs = monai_nets.MedNeXt(
        3, 8, in_channels=4, out_channels=3, kernel_size=3, encoder_expansion_ratio=2, decoder_expansion_ratio=2,
        bottleneck_expansion_ratio=2, use_residual_connection=True, blocks_down=(2,) * 4, blocks_up=(2,) * 4,
        deep_supervision=False,
    )  # fmt: skip
    renamed = {
        **{f"enc_stages.{i}": f"enc_block_{i}" for i in range(4)},
        **{f"down_blocks.{i}": f"down_{i}" for i in range(4)},
        **{f"up_blocks.{i}": f"up_{3 - i}" for i in range(4)},
        **{f"dec_stages.{i}": f"dec_block_{3 - i}" for i in range(4)},
        "out_0": "out_0",
    }
    source = ours.state_dict()
    state = {}
    for key in theirs.state_dict():
        prefix = next((p for p in renamed if key.startswith(f"{p}.")), None)
        state[key] = source[key if prefix is None else renamed[prefix] + key[len(prefix) :]]
    theirs.load_state_dict(state)
    with torch.no_grad():
        torch.testing.assert_close(ours(image), theirs.eval()(image), atol=1e-4, rtol=0)


@pytest.mark.parametrize("sides", [(16, 16, 16), (16, 48, 32)])
def test_sides_that_divide_by_16_work_also_in_training(small_network, sides: tuple[int, ...]) -> None:
    network = small_network().train()
    outputs = network(torch.randn(1, 4, *sides))
    assert outputs[0].shape == (1, 3, *sides)
    sum(output.sum() for output in outputs).backward()
    assert all(p.grad.isfinite().all() for p in network.parameters() if p.requires_grad)


@pytest.mark.parametrize("sides", [(32, 40, 32), (32, 32, 31), (8, 16, 16)])
def test_another_size_gets_an_error_that_says_which_would_do(small_network, sides: tuple[int, ...]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        small_network()(torch.zeros(1, 4, *sides))
    if sides == (32, 40, 32):
        assert "(32, 32, 32) and (32, 48, 32)" in str(caught.value)
    if sides == (8, 16, 16):
        assert "(16, 16, 16)" in str(caught.value)


@pytest.mark.parametrize("shape", [(1, 3, 32, 32, 32), (4, 32, 32, 32)])
def test_another_channel_count_or_rank_is_named(small_network, shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigurationError, match=r"\(B, 4, D, H, W\)"):
        small_network()(torch.zeros(shape))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": "XL"}, "S, B, M, L"),
        ({"kernel_size": 7}, "3, 5"),
        ({"grn_denominator": "max"}, "mean, sum"),
        ({"checkpointing": "all"}, "none, expansion, block"),
        ({"base_channels": 0}, "base_channels"),
        ({"out_channels": True}, "out_channels"),
    ],
)
def test_an_option_that_cannot_be_used_is_named_with_those_that_can(options: dict, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        mednext(**options)


def test_a_typo_fails_at_once_and_the_configuration_is_frozen() -> None:
    with pytest.raises(TypeError):
        mednext(kernal_size=3)
    with pytest.raises(dataclasses.FrozenInstanceError):
        MedNeXtConfig().kernel_size = 5
    with pytest.raises(ConfigurationError):
        MedNeXtConfig(blocks=(2, 2))
    with pytest.raises(ConfigurationError):
        MedNeXtConfig(heads=1)


def test_deep_supervision_is_a_switch_that_train_and_eval_leave_alone(small_network, image) -> None:
    network = small_network()
    assert len(network.eval()(image)) == 5
    network.deep_supervision = False
    alone = network.train()(image)
    assert alone.shape == (2, 3, 32, 32, 32)
    network.deep_supervision = True
    torch.testing.assert_close(network(image)[0], alone)


def test_without_deep_supervision_only_the_finest_head_exists(small_network) -> None:
    network = small_network(deep_supervision=False)
    assert {key.split(".")[0] for key in network.state_dict() if key.startswith("out_")} == {"out_0"}
    with pytest.raises(ConfigurationError):
        network.deep_supervision = True


def test_every_head_gets_a_gradient(small_network, image) -> None:
    network = small_network()
    sum(output.square().mean() for output in network(image)).backward()
    assert all(p.grad is not None and p.grad.any() for n, p in network.named_parameters() if n.startswith("out_"))


def test_plans_build_the_same_weights_with_and_without_deep_supervision() -> None:
    assert pydoc.locate("nnunetv2_comnet.networks.mednext_from_plans") is mednext_from_plans
    arch_kwargs = {
        "size": "S", "kernel_size": 3, "grn": True, "base_channels": 8, "checkpointing": "none",
        "strides": PLANS_STRIDES, "n_stages": 5,
    }  # fmt: skip
    trained, predicting = (
        mednext_from_plans(input_channels=4, num_classes=3, deep_supervision=flag, **arch_kwargs)
        for flag in (True, False)
    )
    predicting.load_state_dict(trained.state_dict(), strict=True)
    x = torch.randn(1, 4, 16, 16, 32)
    torch.testing.assert_close(predicting(x), trained(x)[0])
    assert not hasattr(trained, "initialize")  # nnU-Net would call it on every module


def test_plans_for_another_shape_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="strides"):
        mednext_from_plans(4, 3, strides=[[1, 1, 1], [1, 2, 2]])
    with pytest.raises(ConfigurationError, match="n_stages"):
        mednext_from_plans(4, 3, n_stages=6)


@pytest.mark.parametrize("runs", [True, False], ids=["GPU that can", "GPU that cannot"])
def test_plans_switch_tritons_kernels_on_where_they_can_run(
    runs: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def flags(kernels: str) -> set[bool]:
        network = mednext_from_plans(4, 3, size="S", base_channels=4, gpu_kernels=kernels)
        return {module.use_triton for module in network.modules() if isinstance(module, MedNeXtBlock)}

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert flags("triton") == {False}
    assert caplog.text == ""  # a CPU has its own forms, whatever the plans say
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(triton, "available", lambda device: runs)
    monkeypatch.setattr(triton, "_has_triton", lambda: True)
    assert flags("torch") == {False}
    assert caplog.text == ""
    assert flags("triton") == {runs}
    assert ("PyTorch's are used" in caplog.text) is not runs
    with pytest.raises(ConfigurationError, match=r"gpu_kernels.*torch, triton.*cuda"):
        flags("cuda")


def _all_finite(network: MedNeXt, outputs: list[torch.Tensor]) -> bool:
    targets = [torch.rand(output.shape) > 0.7 for output in outputs]
    DeepSupervisionLoss(DSCPlusPlusBCELoss())(outputs, targets).backward()
    gradients = [parameter.grad for parameter in network.parameters() if parameter.requires_grad]
    return all(tensor.isfinite().all() for tensor in (*outputs, *gradients))


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_no_nan_or_inf_in_any_precision(small_network, dtype: torch.dtype, scale: float) -> None:
    network = small_network("S")
    x = scale * torch.randn(1, 4, 16, 16, 16)
    with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
        outputs = network(x)
    assert outputs[0].dtype == dtype
    assert _all_finite(network, outputs)
    whole = small_network("S").to(dtype)
    with torch.no_grad():
        assert all(output.isfinite().all() for output in whole(x.to(dtype)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_stays_close_to_float32(small_network, dtype: torch.dtype) -> None:
    network = small_network("S", deep_supervision=False)
    x = torch.randn(1, 4, 32, 32, 32)
    with torch.no_grad():
        exact = network(x)
        with torch.autocast("cpu", dtype=dtype):
            rounded = network(x).float()
    assert (rounded - exact).norm() <= (0.01 if dtype == torch.float16 else 0.05) * exact.norm()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_grns_statistics_are_float32_under_autocast(small_network, monkeypatch, dtype: torch.dtype) -> None:
    seen: list[tuple[torch.dtype, torch.dtype]] = []
    original = grn.grn_response

    def spy(x: torch.Tensor, denominator: str) -> torch.Tensor:
        response = original(x, denominator)
        seen.append((x.dtype, response.dtype))
        return response

    monkeypatch.setattr(grn, "grn_response", spy)
    with torch.no_grad(), torch.autocast("cpu", dtype=dtype):
        small_network("S")(torch.randn(1, 4, 16, 16, 16))
    assert len(seen) == 26
    assert set(seen) == {(dtype, torch.float32)}


@pytest.mark.parametrize("checkpointing", ["expansion", "block"])
def test_recomputation_changes_no_output_and_no_gradient(small_network, image, checkpointing: str) -> None:
    plain, thrifty = small_network("S"), small_network("S", checkpointing=checkpointing)
    thrifty.load_state_dict(plain.state_dict())
    for network in (plain, thrifty):
        sum(output.square().mean() for output in network(image)).backward()
    torch.testing.assert_close(thrifty(image), plain(image))
    for a, b in zip(thrifty.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)


@pytest.mark.chain
@pytest.mark.parametrize("checkpointing", ["none", "expansion"])
def test_the_network_compiles_as_one_graph(checkpointing: str) -> None:
    torch.manual_seed(0)
    network = MedNeXt(MedNeXtConfig(base_channels=4, blocks=(1,) * 9, checkpointing=checkpointing))
    randomise(network)
    x = torch.randn(2, 4, 16, 16, 32)
    torch._dynamo.reset()
    plain, compiled = network(x), torch.compile(network, backend="aot_eager", fullgraph=True)(x)
    torch.testing.assert_close(compiled, plain, atol=1e-4, rtol=1e-4)
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    gradients = (torch.autograd.grad(sum(y.square().mean() for y in out), trained) for out in (compiled, plain))
    for a, b in zip(*gradients, strict=True):
        assert (a - b).norm() <= 1e-4 * max(b.norm(), 1e-3)
    torch._dynamo.reset()
