"""GPU code that nobody has timed: off unless a program asks for it, and no flag of the command line does.

cuda_graphs.py: the network of a prediction as a recorded graph, `GraphedNetwork(network)`.
triton/: kernels for MedNeXt's blocks, `use_triton_kernels(network)`.

State: equal to what they replace in tests on a CPU (the kernels by Triton's interpreter, and compiled for two
generations of GPUs); whether they are faster is unknown. `benchmarks/gpu_kernels.py` measures the kernels on a machine
with a GPU, and `pytest tests/networks -k "gpu or triton or graph"` repeats the tests there.
A prediction takes them by `inference.options.Options(cuda_graphs=True, triton_kernels=True)`, a training by
`gpu_kernels: triton` in the plans' `comnet` section and in `arch_kwargs`, which plans files of before may hold.
"""
