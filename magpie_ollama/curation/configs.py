"""What lies beside an exported file so that it trains: a script for TRL and Unsloth, a config for Axolotl and
LLaMA-Factory. They name a small base model and modest settings, which are for whoever trains to change."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any

from magpie_ollama.curation.preferences import Kind
from magpie_ollama.curation.trainers import SHAPES, Trainer

BASE = "Qwen/Qwen3-0.6B"

INFO = "dataset_info.json"
"""Where LLaMA-Factory looks up the files of a folder."""

_TRL = Template("""\
# pip install "trl>=1.0" peft datasets
from datasets import load_dataset
from peft import LoraConfig
$imports
$reward
rows = load_dataset("json", data_files=$files)
trainer = $trainer(
    model="$base",  # the model to tune
    args=$config(output_dir="$out", num_train_epochs=1, learning_rate=$rate$more),
    train_dataset=rows["train"], $evaluation
    peft_config=LoraConfig(task_type="CAUSAL_LM", r=16, lora_alpha=32, target_modules="all-linear"),
)
trainer.train()
trainer.save_model()
""")

_UNSLOTH = Template("""\
# pip install unsloth; it has to be imported before trl
from unsloth import FastLanguageModel
from datasets import load_dataset
$imports
$reward
model, tokenizer = FastLanguageModel.from_pretrained("$base", max_seq_length=2048, load_in_4bit=True)
model = FastLanguageModel.get_peft_model(model, r=16, lora_alpha=32)
rows = load_dataset("json", data_files=$files)
$prepare
trainer = $trainer(
    model=model, processing_class=tokenizer,
    args=$config(output_dir="$out", num_train_epochs=1, learning_rate=$rate$more),
    train_dataset=rows["train"], $evaluation
)
trainer.train()
model.save_pretrained_gguf("$out", tokenizer)  # which Ollama loads
""")

_AS_TEXT = """\
as_text = lambda row: {"text": tokenizer.apply_chat_template(row["messages"], tokenize=False)}
rows = rows.map(as_text, remove_columns="messages")
"""

_REWARD = """
def reward(completions, **columns):  # yours: what makes an answer good
    return [-abs(len(answer[-1]["content"]) - 600) / 600 for answer in completions]

"""

_KTO = """\
try:
    from trl import KTOConfig, KTOTrainer
except ImportError:
    from trl.experimental.kto import KTOConfig, KTOTrainer
"""

_AXOLOTL = Template("""\
# axolotl train $config
base_model: $base
adapter: lora
lora_r: 16
lora_alpha: 32
lora_target_linear: true
$method
datasets:
  - path: $train
    ds_type: json
    split: train
$type
sequence_len: 2048
micro_batch_size: 2
gradient_accumulation_steps: 8
num_epochs: 1
learning_rate: $rate
optimizer: adamw_torch
lr_scheduler: cosine
bf16: auto
output_dir: $out
""")

_AXOLOTL_TYPES: dict[Kind, tuple[str, str]] = {
    "sft": ("", "    type: chat_template\n    field_messages: messages"),
    "dpo": ("rl: dpo", "    type: chat_template.default\n    field_messages: prompt"),
    "kto": (
        "rl: kto\nremove_unused_columns: false\nkto_desirable_weight: $true\nkto_undesirable_weight: $false",
        "    type: chatml.prompt_pairs  # llama3.prompt_pairs for a model of that template",
    ),
    "prompt": (
        "rl: grpo\ntrl:\n  max_completion_length: 512\n  num_generations: 4\n  reward_funcs: [$module.reward]",
        "    type: $module.prompts",
    ),
}

_AXOLOTL_MODULE = (
    _REWARD.lstrip()
    + """
def prompts(cfg, *args, **kwargs):
    return lambda row, tokenizer=None: {"prompt": row["prompt"]}
"""
)

_FACTORY = Template("""\
# llamafactory-cli train $config
model_name_or_path: $base
template: qwen3_nothink
stage: $stage
do_train: true
finetuning_type: lora
lora_target: all
dataset_dir: .
dataset: $name
$more
cutoff_len: 2048
per_device_train_batch_size: 2
gradient_accumulation_steps: 8
num_train_epochs: 1.0
learning_rate: $rate
bf16: true
output_dir: $out
""")

_FACTORY_MORE: dict[Kind, str] = {
    "sft": "",
    "dpo": "pref_beta: 0.1",
    "kto": "pref_beta: 0.1\nkto_chosen_weight: $true\nkto_rejected_weight: $false",
    "prompt": "reward_model: PATH  # of a reward model that `stage: rm` trained",
}

_NAMES: dict[Kind, str] = {"sft": "SFT", "dpo": "DPO", "kto": "KTO", "prompt": "GRPO"}
_RATES: dict[Kind, str] = {"sft": "2.0e-4", "dpo": "5.0e-6", "kto": "5.0e-6", "prompt": "5.0e-6"}


def beside(
    trainer: Trainer, kind: Kind, files: Mapping[str, Path], labels: Mapping[bool, int], there: Mapping[str, Any]
) -> dict[Path, str]:
    """The files that go beside those of an export, with their texts. ``files`` are the export's by the names of their
    split, ``labels`` counts its rows by label; ``there`` is what the folder's ``INFO`` holds already."""
    first = next(iter(files.values()))
    stem = first.with_name(_stem(files))
    (_, train), *others = ((name, path.name) for name, path in files.items())
    sides = {"train": train, **dict(others)}  # a split may name its first side otherwise
    weights = dict(zip(("true", "false"), balance(labels), strict=True))
    module = re.sub(r"\W", "_", f"{stem.name}_rewards")
    facts = {"base": BASE, "out": f"{stem.name}-tuned", "rate": _RATES[kind], "module": module, **weights}
    if trainer in ("trl", "unsloth"):
        script = _script(trainer, kind, sides, facts)
        return {stem.with_name(f"{stem.name}.py"): script}
    config = stem.with_name(f"{stem.name}.yaml")
    facts["config"] = _quoted(config.name)
    if trainer == "axolotl":
        method, type_ = (Template(text).substitute(facts) for text in _AXOLOTL_TYPES[kind])
        text = _AXOLOTL.substitute(facts, method=method, type=type_, train=_quoted(f"./{sides['train']}"))
        if others:
            tested = _quoted(f"./{others[0][1]}")
            text += f"test_datasets:\n  - path: {tested}\n    ds_type: json\n    split: train\n{type_}\n"
        more = {stem.with_name(f"{module}.py"): _AXOLOTL_MODULE} if kind == "prompt" else {}
        return {config: _dense(text), **more}
    names = {side: f"{stem.name}-{side}" if len(sides) > 1 else stem.name for side in sides}
    info = {**there, **{names[side]: _info(kind, name) for side, name in sides.items()}}
    told = [Template(_FACTORY_MORE[kind]).substitute(facts)]
    told += [f"eval_dataset: {_quoted(names[side])}" for side in sides if side != "train"][:1]
    stage = "ppo" if kind == "prompt" else kind
    text = _FACTORY.substitute(facts, stage=stage, name=_quoted(names["train"]), more="\n".join(told))
    return {config: _dense(text), stem.with_name(INFO): json.dumps(info, ensure_ascii=False, indent=2) + "\n"}


def balance(labels: Mapping[bool, int]) -> tuple[float, float]:
    """Weights of the rows labelled true and false with which both count for as much, as KTO wants it.

    >>> balance({True: 300, False: 100}), balance({True: 0, False: 3})
    ((1.0, 3.0), (1.0, 1.0))
    """
    true, false = labels.get(True, 0), labels.get(False, 0)
    if not true or not false:
        return 1.0, 1.0
    return (1.0, round(true / false, 2)) if true > false else (round(false / true, 2), 1.0)


def _script(trainer: Trainer, kind: Kind, sides: Mapping[str, str], facts: Mapping[str, Any]) -> str:
    name = _NAMES[kind]
    more = {
        "sft": ', dataset_text_field="text"' if trainer == "unsloth" else "",
        "dpo": ", beta=0.1",
        "kto": f", desirable_weight={facts['true']}, undesirable_weight={facts['false']}",
        "prompt": ", num_generations=4, max_completion_length=512",
    }[kind]
    evaluation = [f'eval_dataset=rows["{side}"],' for side in sides if side != "train"][:1]
    evaluation += ["reward_funcs=reward,"] if kind == "prompt" else []
    text = (_TRL if trainer == "trl" else _UNSLOTH).substitute(
        {**facts, "out": json.dumps(facts["out"])[1:-1]},
        imports=_KTO.rstrip() if kind == "kto" else f"from trl import {name}Config, {name}Trainer",
        reward=_REWARD if kind == "prompt" else "",
        files=json.dumps(sides, ensure_ascii=False),
        trainer=f"{name}Trainer",
        config=f"{name}Config",
        more=more,
        evaluation=" ".join(evaluation),
        prepare=_AS_TEXT if kind == "sft" else "",
    )
    return _tidy(text)


def _info(kind: Kind, name: str) -> dict[str, Any]:
    """LLaMA-Factory's words on one file: each of its keys, by the key that this tool's shape has."""
    shape = SHAPES["llama-factory"][kind][0]
    columns = {shape.answers[0]: shape.answers[0], shape.answers[1]: shape.answers[1]} if kind == "dpo" else {}
    known = {"prompt" if shape.asked == "text" else "messages": shape.prompt, "kto_tag": shape.label}
    known |= {"system": shape.system, "history": shape.history}
    columns |= {theirs: ours for theirs, ours in known.items() if ours}
    formatting = "alpaca" if shape.asked == "text" else "sharegpt"
    ranking = {"ranking": True} if kind == "dpo" else {}
    return {"file_name": name, "formatting": formatting, **ranking, "columns": columns}


def _stem(files: Mapping[str, Path]) -> str:
    """The name of all files together: without the side's."""
    side, path = next(iter(files.items()))
    return path.stem.removesuffix(f"-{side}") if side else path.stem


def _quoted(text: str) -> str:
    """A text as YAML has it, plain where it may be."""
    return text if re.fullmatch(r"[\w./-]+", text, re.ASCII) else json.dumps(text, ensure_ascii=False)


def _dense(text: str) -> str:
    return "\n".join(filter(str.strip, text.splitlines())) + "\n"


def _tidy(text: str) -> str:
    """Without the lines that stayed empty, but for one in a row."""
    lines = [line.rstrip() for line in text.splitlines()]
    kept = [line for at, line in enumerate(lines) if line or (at and lines[at - 1])]
    return "\n".join(kept).strip() + "\n"
