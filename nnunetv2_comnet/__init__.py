"""CoMNeT for nnU-Net v2: brain tumour segmentation with a 3D MedNeXt-GRN, trained and run by the stock commands."""

__version__ = "0.1.0"
