"""What ``dedup --semantic`` and ``stats --neighbours`` cost, and what they find beside MinHash.

    python benchmarks/semantic.py --model-path all-MiniLM-L6-v2.gguf [--records 20000] [--folder DIR]

The records are English questions on four words drawn by chance: of each ten, nine are new, and the tenth asks what an
earlier one asks in another frame ("Explain X." and "Could you tell me about X?"). All of it runs as processes of their
own, by the embedded engine; the second run of a command finds the vectors of the first, so that what it takes is the
search.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from pathlib import Path

import wordfreq
from corpus import TOOL, run

FRAMES = (
    "Explain {}.;Could you tell me about {}?;Write a short paragraph on {}.;What should I know about {}?;"
    "Give me an overview of {}, please.;I would like to learn about {}."
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model-path", type=Path, required=True)
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        source = (given.folder or Path(scratch)) / f"semantic-{given.records}.jsonl"
        again = make(source, given.records)
        print(f"{given.records:,} records, {again:,} of which ask what an earlier one asks")
        model = ("--server", "embedded", "--model-path", given.model_path, "--option", "num_thread=1")
        new = Path(scratch) / "new.jsonl"
        for name, *options in (
            ("dedup",),
            ("dedup", "--semantic", *model),
            ("dedup", "--semantic", *model),
            ("dedup", "--semantic", "--distance", "0.15", *model),
            ("dedup", "--semantic", "--distance", "0.3", *model),
            ("stats", "--neighbours", *model),
        ):
            output = () if name == "stats" else ("-o", new, "--force")
            cost = run(TOOL, name, source, *options, *output, "-q")
            left = sum(1 for _ in new.open()) if new.exists() else given.records
            told = " ".join(map(str, options[: 3 if "--distance" in options else 1]))
            print(
                f"{name} {told:32} {cost.seconds:7.1f} s  {cost.cpu:7.1f} CPU  {cost.peak / 1e6:5.0f} MB  "
                f"{given.records - left:,} removed",
                flush=True,
            )


def make(path: Path, records: int) -> int:
    drawn = random.Random(16)
    frames = FRAMES.split(";")
    words = [word for word in wordfreq.top_n_list("en", 8000)[500:] if len(word) > 4 and word.isalpha()]
    asked: list[tuple[str, str]] = []
    again = 0
    with path.open("w") as file:
        for number in range(records):
            if number % 10 == 9:
                subject, frame = drawn.choice(asked)
                frame = drawn.choice([other for other in frames if other != frame])
                again += 1
            else:
                one, other, third, last = drawn.sample(words, 4)
                subject = f"{one} {other} and its {third} in a {last}"
                frame = drawn.choice(frames)
            asked.append((subject, frame))
            file.write(json.dumps({"instruction": frame.format(subject), "output": "It depends."}) + "\n")
    return again


if __name__ == "__main__":
    main()
