"""How well predicted masks agree with the truth: scores, tables, pictures. No torch, no nnunetv2.

In the order of the data: protocols.py says what is scored how; images.py reads files; components.py numbers lesions and
lesions.py pairs them; overlap.py counts voxels and surfaces.py measures distances; case_scores.py puts a case's scores
together, case_files.py from its files, with calibration.py where there are probabilities; evaluate.py scores a folder
into results.py, which every later step reads. dice.py computes Dice alone; figures.py draws.
"""
