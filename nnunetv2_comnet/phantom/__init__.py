"""Generated patients: head, tumour and scanner from a seed, so that tests and the demo need nobody's images.

In the order of the data: fields.py makes grids and random fields, shapes.py solids; of these anatomy.py builds a brain,
tumour.py and vessels.py what lies in it; contrast.py scans it; patient.py is one patient of all that. layouts.py and
metadata.py name files as published datasets do; write.py writes them.
"""
