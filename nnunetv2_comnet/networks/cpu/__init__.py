"""MedNeXt on a CPU: the same functions in channels-last layout, in passes over a few megabytes at a time.

A CPU is bound by memory, not by arithmetic. Voxels as rows, (V, C), make every pointwise convolution one matrix
product, give oneDNN its fast depthwise kernels, and let a block's chain run over some thousand rows at a time, which
stay in the cache from the norm to the compression.
"""

from nnunetv2_comnet.networks.cpu.branch import BranchWeights, GrnForm, branch
from nnunetv2_comnet.networks.cpu.depthwise import depthwise_conv3d, depthwise_conv_transpose3d
from nnunetv2_comnet.networks.cpu.layout import fits, rows, volume

__all__ = [
    "BranchWeights",
    "GrnForm",
    "branch",
    "depthwise_conv3d",
    "depthwise_conv_transpose3d",
    "fits",
    "rows",
    "volume",
]
