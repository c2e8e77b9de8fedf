"""How well predicted masks agree with the truth: scores, tables, pictures. No torch, no nnunetv2."""
