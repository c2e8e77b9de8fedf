"""Reads what comes from other people without running it: checkpoints, a model's manifest, models in zip files.

checkpoints.py (plain values in, no unpickling out), manifest.py (hashes of a model's files), archive.py (a zip that is
checked before it is unpacked), install.py (a model from a zip into nnUNet_results).
"""
