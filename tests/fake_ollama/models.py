"""What a fake server knows of a model."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256

from .templates import Template, chatml
from .tokens import Tokenizer

SMOLLM_SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"


@dataclass
class FakeModel:
    """`system` and `parameters` are the Modelfile's SYSTEM and PARAMETER lines as /api/show tells them.

    `adds_bos` says that the server puts a BOS token in front of a raw prompt by itself. `context` is what
    the model was trained with. A model without "completion" among its capabilities only embeds. `on_gpu` is the share
    of its memory that is a GPU's. `renderer` is one that no server here knows. `bare`: the weights bring no template,
    and the Modelfile names none: the new engine takes ChatML. `made_of` is the model whose weights it has, and whose
    runner: /api/ps lists that one alone (seen with 0.17.4).
    """

    name: str = "smollm2:135m"
    template: Template = field(default_factory=chatml)
    system: str = ""
    parameters: str = ""
    family: str = "llama"
    capabilities: tuple[str, ...] = ("completion",)
    context: int = 8192
    adds_bos: bool = False
    digest: str = ""
    size: int = 98_363_069
    parameter_size: str = "134.52M"
    quantization: str = "Q4_1"
    on_gpu: float = 0.0
    renderer: str = ""
    bare: bool = False
    made_of: str = ""

    def __post_init__(self) -> None:
        if ":" not in self.name.rpartition("/")[2]:
            self.name += ":latest"
        self.digest = self.digest or sha256(self.name.encode()).hexdigest()
        self.tokenizer = Tokenizer(self.template.control)

    @property
    def weights(self) -> str:
        return sha256((self.made_of or self.name).encode()).hexdigest()

    @property
    def stops(self) -> list[str]:
        """The PARAMETER stop lines: what holds where a request says nothing."""
        lines = (line.split(None, 1) for line in self.parameters.splitlines())
        return [parts[1].strip('"') for parts in lines if len(parts) == 2 and parts[0] == "stop"]

    def details(self) -> dict[str, object]:
        return {
            "parent_model": "",
            "format": "gguf",
            "family": self.family,
            "families": [self.family],
            "parameter_size": self.parameter_size,
            "quantization_level": self.quantization,
        }


def stop_parameters(*stops: str) -> str:
    """PARAMETER stop lines as /api/show formats them."""
    return "\n".join(f'{"stop":<30} "{stop}"' for stop in stops)


def smollm2(name: str = "smollm2:135m") -> FakeModel:
    """The model of the recordings."""
    return FakeModel(name=name, system=SMOLLM_SYSTEM, parameters=stop_parameters("<|im_start|>", "<|im_end|>"))


def embedder(name: str = "nomic-embed-text:latest") -> FakeModel:
    """An embedding model: chat and generate are refused."""
    return FakeModel(name=name, family="nomic-bert", capabilities=("embedding",), context=2048)
