"""Which models are put into the table: their names as the user writes them, and their folders."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nnunetv2_comnet.cv_report.paper import PAPER
from nnunetv2_comnet.errors import ConfigurationError


@dataclass(frozen=True)
class Model:
    """A trained model by nnU-Net's names; `name` is what tables and figures call it."""

    name: str
    trainer: str
    plans: str
    configuration: str

    @property
    def slug(self) -> str:
        """The name as a folder's."""
        return re.sub(r"[^A-Za-z0-9.-]+", "_", self.name)


@dataclass(frozen=True)
class TrainedModel:
    """A model and the folder that nnU-Net trained it into."""

    model: Model
    folder: Path

    @property
    def name(self) -> str:
        return self.model.name

    def command(self, fold: int, *extra: str) -> str:
        """Writes the stock command that trains a fold."""
        words = (
            "nnUNetv2_train", self.folder.parent.name, self.model.configuration, str(fold), "-tr", self.model.trainer,
            "-p", self.model.plans, *extra,
        )  # fmt: skip
        return " ".join(words)


def parse_model(text: str, plans: str, configuration: str) -> Model:
    """Reads [NAME=]TRAINER[:PLANS[:CONFIGURATION]]; what is left out is `plans` and `configuration`.

    A model without a name gets the paper's, where it stands for one of the paper's, else its trainer's.
    """
    name, _, rest = text.rpartition("=")
    parts = rest.split(":")
    if not 1 <= len(parts) <= 3 or not all(parts) or ("=" in text and not name.strip()):
        raise ConfigurationError(
            f"'{text}' is not a model; write TRAINER, TRAINER:PLANS or TRAINER:PLANS:CONFIGURATION, with NAME= in "
            "front where you want another name"
        )
    given = dict(zip(("trainer", "plans", "configuration"), parts, strict=False))
    written = {"plans": plans, "configuration": configuration, **given}
    if not name:
        name = PAPER[parts[0]].name if parts[0] in PAPER else parts[0]
        if (written["plans"], written["configuration"]) != (plans, configuration):
            name += f" ({':'.join(parts[1:])})"
    return Model(name.strip(), **written)


def parse_models(texts: Sequence[str], plans: str, configuration: str) -> list[Model]:
    """Reads each as `parse_model` does; refuses two of one name."""
    models = [parse_model(text, plans, configuration) for text in texts]
    for slug, count in Counter(model.slug for model in models).items():
        if count > 1:
            raise ConfigurationError(f"{count} models are called {slug}; name one otherwise: NAME=TRAINER:PLANS")
    return models
