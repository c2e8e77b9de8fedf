"""Generated patients: head, tumour and scanner from a seed, so that tests and the demo need nobody's images."""
