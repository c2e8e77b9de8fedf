"""The Triton kernels: the interpreter's checks in a process of their own, compilation, the switch, and a GPU's checks.

What needs a GPU is skipped without one: there the kernels run at real sizes in half precision.
"""

import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from mednext_formulas import chain
from torch import Tensor, nn

from nnunetv2_comnet.errors import ConfigurationError
from nnunetv2_comnet.networks.experimental.triton import (
    available,
    depthwise_conv3d,
    fused_branch,
    suits_branch,
    use_triton_kernels,
)
from nnunetv2_comnet.networks.experimental.triton.launch import BLOCK_E, BLOCK_V, STAGES, padded, split_of, warps_for

CHECKS = Path(__file__).with_name("triton_interpreter_checks.py")
SMALLEST_SHARED_MEMORY = 99 * 1024  # of a program, among GPUs since Ampere (8.6 and 8.9)


def triton_version() -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in version("triton").split(".")[:2])
    except PackageNotFoundError:
        return (0,)


needs_triton = pytest.mark.skipif(triton_version() < (3, 3), reason="triton 3.3 or newer is not installed")
needs_gpu = pytest.mark.skipif(
    not torch.cuda.is_available() or not available("cuda"), reason="no CUDA GPU that can run the kernels"
)


@pytest.mark.chain
@pytest.mark.skipif(triton_version() < (3, 8), reason="older interpreters do not run with a current numpy")
def test_kernels_equal_the_plain_formulas_under_the_interpreter() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "--noconftest", "-p", "no:cacheprovider", str(CHECKS)]
    found = subprocess.run(command, cwd=CHECKS.parents[2], capture_output=True, text=True, timeout=1800, check=False)
    assert found.returncode == 0, found.stdout[-4000:]


def test_the_package_needs_no_triton() -> None:
    """Imported where triton cannot be: nothing is available, and switching on names the remedy."""
    code = (
        "import sys; sys.modules['triton'] = None\n"
        "from torch import nn\n"
        "from nnunetv2_comnet.errors import ConfigurationError\n"
        "from nnunetv2_comnet.networks.experimental.triton import available, use_triton_kernels\n"
        "assert not available('cpu') and not available('cuda')\n"
        "try:\n    use_triton_kernels(nn.Identity())\n"
        "except ConfigurationError as error:\n    print(error)\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    expected = "Triton kernels: need the package triton 3.3 or newer; install it, or leave them off\n"
    assert (found.stdout, found.stderr) == (expected, "")


def test_a_cpu_does_not_get_them() -> None:
    assert not available("cpu")
    assert not available(torch.device("meta"))


@needs_triton
def test_the_switch_is_off_until_used() -> None:
    class Block(nn.Module):
        use_triton = False

    network = nn.Sequential(Block(), nn.Sequential(Block(), nn.Identity()))
    blocks = [module for module in network.modules() if isinstance(module, Block)]
    assert not any(block.use_triton for block in blocks)
    use_triton_kernels(network)
    assert all(block.use_triton for block in blocks)
    use_triton_kernels(network, enabled=False)
    assert not any(block.use_triton for block in blocks)
    with pytest.raises(ConfigurationError, match="Identity"):
        use_triton_kernels(nn.Identity())


def test_the_branch_is_for_half_precision_and_few_channels() -> None:
    half = torch.empty(1, 128, 1, 1, 1, dtype=torch.bfloat16)
    assert suits_branch(half, 128)
    assert not suits_branch(half, 256)
    assert not suits_branch(half.float(), 128)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert suits_branch(torch.empty(1, 32, 1, 1, 1), 32)


@pytest.mark.parametrize("voxels", [1, 64, 65, 1000, 112 * 160 * 128])
@pytest.mark.parametrize(("others", "numbers"), [(1, 64), (16, 65536), (5000, 2**23)])
def test_a_split_covers_every_voxel_once(voxels: int, others: int, numbers: int) -> None:
    parts, each = split_of(voxels, BLOCK_V, others, numbers)
    blocks = -(-voxels // BLOCK_V)
    assert parts * each >= blocks
    assert (parts - 1) * each < blocks  # no part without a block
    assert parts == 1 or (parts * others <= 2048 and parts * numbers <= 2**22)


def signature(kernel: Any, constants: dict[str, Any], volumes: set[str], matrices: set[str]) -> dict[str, str]:
    """Types by the arguments' names: bfloat16 volumes, float32 matrices and vectors, whole numbers."""
    return {
        name: "constexpr"
        if name in constants
        else "*bf16"
        if name in volumes
        else "*fp32"
        if name in matrices
        else "i32"
        for name in kernel.arg_names
    }


@needs_triton
@pytest.mark.parametrize(("capability", "channels"), [(80, 128), (90, 32)])
def test_kernels_compile_for_a_gpu(
    capability: int, channels: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Down to machine code, which needs no GPU, and within the shared memory of the smallest."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from nnunetv2_comnet.networks.experimental.triton import compression_kernels, depthwise_kernels, expansion_kernels

    volumes = {"x", "out", "gradient", "hidden", "hidden_gradient", "x_gradient", "residual"}
    matrices = {"bias", "squares", "square_gradient", "by_weight", "by_bias", "offset", "slope", "partial"}
    tile = {"C": padded(channels), "BLOCK_E": BLOCK_E, "BLOCK_V": BLOCK_V}
    stencil = {"CHUNK": 16, "K": 3, "BLOCK": 512}
    branch = volumes | {"weight"}  # folded: in the volumes' type
    for kernel, constants, in_half in (
        (depthwise_kernels.stencil_kernel, {**stencil, "FLIP": True}, volumes),
        (depthwise_kernels.weight_gradient_kernel, stencil, volumes),
        (expansion_kernels.moments_kernel, {"BLOCK": 1024}, volumes),
        (expansion_kernels.expand_kernel, tile, branch),
        (expansion_kernels.expand_weight_gradient_kernel, tile, branch),
        (expansion_kernels.expand_input_gradient_kernel, tile, branch),
        (compression_kernels.compress_kernel, {**tile, "HAS_RESIDUAL": True}, branch),
        (compression_kernels.compress_gradient_kernel, tile, branch),
    ):
        types = signature(kernel, constants, in_half, matrices | {"weight"})
        source = ASTSource(fn=kernel, signature=types, constexprs=constants)
        options = {"num_warps": warps_for(channels), "num_stages": STAGES}
        compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
        assert compiled.asm["cubin"]
        assert compiled.metadata.shared <= SMALLEST_SHARED_MEMORY


@needs_gpu
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize("shape", [(2, 32, 56, 80, 64), (1, 128, 27, 39, 31), (2, 512, 7, 10, 8)], ids=str)
def test_depthwise_convolution_on_a_gpu(dtype: torch.dtype, size: int, shape: tuple[int, ...]) -> None:
    """Against PyTorch's kernel in float64: one rounding of the output, and sums that come out the same every time."""
    generator = torch.Generator("cuda").manual_seed(0)
    x, by = (torch.randn(shape, generator=generator, device="cuda").to(dtype) for _ in range(2))
    weight = torch.randn(shape[1], 1, size, size, size, generator=generator, device="cuda")
    runs = []
    for _ in range(2):
        inputs = [x.clone().requires_grad_(), weight.clone().requires_grad_()]
        out = depthwise_conv3d(*inputs)
        out.backward(by)
        runs.append([out.detach(), *(t.grad for t in inputs)])
    for one, other in zip(*runs, strict=True):
        assert torch.equal(one, other)
    inputs = [x.double().requires_grad_(), weight.double().requires_grad_()]
    out = F.conv3d(*inputs, padding=size // 2, groups=shape[1])
    out.backward(by.double())
    eps = torch.finfo(dtype).eps
    for found, expected in zip(runs[0][:2], (out, inputs[0].grad), strict=True):
        assert ((found - expected).abs() <= eps * expected.abs() + 1e-5).all()
    error = (runs[0][2] - inputs[1].grad).abs().max() / inputs[1].grad.abs().max()
    assert error <= 1e-5


@needs_gpu
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    ("channels", "ratio", "space"), [(32, 2, (56, 80, 64)), (64, 3, (27, 39, 31)), (128, 4, (28, 40, 32))]
)
def test_branch_on_a_gpu(dtype: torch.dtype, channels: int, ratio: int, space: tuple[int, ...]) -> None:
    """Against the formula in float64, with the bounds of the interpreter's check: 4 and 8 independent roundings."""
    torch.manual_seed(0)
    layers = nn.ModuleDict(
        {
            "norm": nn.GroupNorm(channels, channels),
            "conv2": nn.Conv3d(channels, ratio * channels, 1),
            "conv3": nn.Conv3d(ratio * channels, channels, 1),
        }
    ).cuda()
    gamma, beta = (torch.randn(1, ratio * channels, 1, 1, 1, device="cuda", requires_grad=True) for _ in range(2))
    x, residual, by = (torch.randn(2, channels, *space, device="cuda").to(dtype) for _ in range(3))
    x = (x * 2 + 3).requires_grad_()
    out = fused_branch(
        x, layers["norm"], layers["conv2"], layers["conv3"], grn_gamma=gamma, grn_beta=beta, residual=residual
    )  # type: ignore[arg-type]
    out.backward(by)
    weights: dict[str, Tensor] = {f"b.{k}": v.detach().double().requires_grad_() for k, v in layers.named_parameters()}
    weights |= {"b.grn_gamma": gamma.detach().double().requires_grad_()}
    weights |= {"b.grn_beta": beta.detach().double().requires_grad_()}
    exact = x.detach().double().requires_grad_()
    expected = chain(exact, weights, "b") + residual.double()
    expected.backward(by.double())
    eps = torch.finfo(dtype).eps
    assert (out - expected).norm() <= 2 * eps * expected.norm()
    ours = {f"b.{name}": p.grad for name, p in layers.named_parameters()} | {
        "b.grn_gamma": gamma.grad,
        "b.grn_beta": beta.grad,
    }
    for name, plain in {**weights, "x": exact}.items():
        found = x.grad if name == "x" else ours[name]
        assert (found - plain.grad).norm() <= 3 * eps * plain.grad.norm(), name
