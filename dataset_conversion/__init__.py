"""Converts public brain-tumour datasets into nnU-Net's raw format: one engine, one small declaration per dataset.

In the order of the data: layouts/ declares each dataset; scan.py finds its cases and metadata.py the table about the
patients; case.py converts one case: volumes.py reads and writes images, checks.py looks for defects (findings.py),
masks.py chooses and maps the mask. paint.py proves that nnU-Net gives every label back; splits.py makes folds by
patient; target.py describes the dataset, report.py and preview.py what was done; convert.py runs it all.
"""
