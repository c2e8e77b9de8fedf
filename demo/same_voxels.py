"""Exits with an error unless two label maps hold the same voxels on the same grid."""

import sys

import nibabel
import numpy as np

first, second = (nibabel.load(path) for path in sys.argv[1:3])
same = np.array_equal(np.asarray(first.dataobj), np.asarray(second.dataobj)) and np.array_equal(
    first.affine, second.affine
)
print(f"{'the same voxels' if same else 'OTHER VOXELS'}: {sys.argv[1]} and {sys.argv[2]}")
sys.exit(0 if same else 1)
