"""The models of tests/inference, whose strengths are measured here."""

from tests.inference.conftest import comnet, model, patients, refined_model  # noqa: F401 - fixtures
