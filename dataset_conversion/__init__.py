"""Converts public brain-tumour datasets into nnU-Net's raw format: one engine, one small declaration per dataset."""
