"""The paper's experiment: held-out predictions of cross-validated models, its table and its figures."""
