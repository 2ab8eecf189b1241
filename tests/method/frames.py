"""Chat texts with foreign material on purpose, and texts that only begin in a language, built from ``frames.tsv``.

A row of that file holds what users and assistants write around it in one language ("⏎" is a line break, "{}" the
place of the foreign part); the pools below are what stands there.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROWS = Path(__file__).with_name("frames.tsv")


class Text(NamedTuple):
    """``code`` is the language asked for; ``opener`` the words of it that a steering gave."""

    kind: str
    code: str
    text: str
    opener: str = ""


SENTENCES = (
    "The old bridge was closed for repairs, so we had to walk along the river.",
    "Could you please let me know when the next meeting takes place?",
    "She don't know where her brother have put the keys of the car.",
    "I look forward to hearing from you soon.",
    "He has been working in this company since he was eighteen. Nobody knows the machines better than him.",
    "Yesterday I go to the market and buyed some apples.",
    "If it rains tomorrow, we will stay at home and play cards with the children.",
    "Thank you for your order. We will send you the parcel within three days.",
    "the cat sat on the mat",
    "All happy families are alike; every unhappy family is unhappy in its own way.",
    "We regret to inform you that your application was not successful this time.",
    "There is many people which thinks that the earth are flat.",
)
PHRASES = ("the sky is the limit", "break a leg", "It's raining cats and dogs", "once in a blue moon", "Let it be",
           "don't judge a book by its cover", "here comes the sun", "I will always love you")  # fmt: skip
ERRORS = (
    "TypeError: unsupported operand type(s) for +: 'int' and 'str'",
    'Traceback (most recent call last):\n  File "main.py", line 12, in <module>\n    total = prices + tax\n'
    "NameError: name 'prices' is not defined",
    "error: failed to push some refs to 'origin'\nhint: Updates were rejected because the remote contains work that"
    " you do not have locally.",
    "npm ERR! code ERESOLVE\nnpm ERR! ERESOLVE unable to resolve dependency tree",
    "bash: ./install.sh: Permission denied",
    "2024-05-11 10:22:31 ERROR [main] Could not open connection to the database server on port 5432",
    'Exception in thread "main" java.lang.NullPointerException: Cannot invoke "String.length()" because "s" is null'
    "\n\tat Main.main(Main.java:5)",
    "fatal: not a git repository (or any of the parent directories): .git",
    "E: Unable to locate package python3-venv",
    "Segmentation fault (core dumped)",
    "The application was unable to start correctly (0xc000007b). Click OK to close the application.",
    "docker: Error response from daemon: Conflict. The container name is already in use by another container.",
    "ModuleNotFoundError: No module named 'requests'",
    "Uncaught ReferenceError: document is not defined",
)
TITLES = (
    "The Shawshank Redemption, Pulp Fiction, The Lord of the Rings",
    "Breaking Bad, Game of Thrones, The Big Bang Theory",
    "Back to the Future, Gone with the Wind, Some Like It Hot",
    "The Great Gatsby, Of Mice and Men, To Kill a Mockingbird",
    "The Dark Side of the Moon, Abbey Road, Born to Run",
)
CODE = (
    "for i in range(10)\n    print(i)",
    "SELECT name, city FROM customers WHERE age > 30 ORDER BY name",
    "function add(a, b) {\n  return a + b\n}\nconsole.log(add(2, 3))",
    "$ pip install pandas\n$ python analyse.py --input sales.csv",
    "def greet(name):\n    # say hello to the user\n    return 'Hello ' + nmae",
    'if (x = 5) {\n    printf("x is five");\n}',
)
TAILS = (
    "improve my English and find new friends in the city",
    "the best way to learn how to cook at home for the whole family",
    "make a website that shows the weather of every day in my town",
    "understand why the people are leaving their houses before the winter",
)
ENGLISH = (
    "How do I get rid of the stains on my white shirt?",
    "Write a short story about a boy who finds an old map in the attic.",
    "Solve 3x + 5 = 20 for x.",
    "What is the capital of France?",
    "Give me three tips for a job interview.",
    "Calculate the area of a circle with a radius of 7 cm.",
    "Sure! Here is a list of things that you can do to sleep better at night.",
)


def rows() -> list[dict[str, str]]:
    with ROWS.open(encoding="utf-8", newline="") as file:
        read = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [{key: value.replace("⏎", "\n") for key, value in row.items()} for row in read]


def right() -> Iterator[Text]:
    """Texts that a reader would keep for their language: 14 a language."""
    for n, row in enumerate(rows()):
        for kind, pool, times in (
            ("translate", SENTENCES, 3), ("correct", SENTENCES, 2), ("ask", SENTENCES, 1), ("error", ERRORS, 2),
            ("why", ERRORS, 1), ("quote", PHRASES, 1), ("titles", TITLES, 1), ("program", CODE, 1),
            ("answer", SENTENCES, 1),
        ):  # fmt: skip
            for k in range(times):
                yield Text(kind, row["code"], row[kind].format(pool[(n + 5 * k + len(kind)) % len(pool)]))
        films = TITLES[n % len(TITLES)].split(", ")
        yield Text(
            "list", row["code"], row["list"].format("\n".join(f"{k}. {film}" for k, film in enumerate(films, 1)))
        )


def wrong() -> Iterator[Text]:
    """Texts that are in another language, or go over to one without a mark: 6 a language."""
    every = rows()
    for n, row in enumerate(every):
        code, half, question = row["code"], row["half"], row["titles"].split("{}")[1].lstrip(".,， ")
        tail = TAILS[n % len(TAILS)]
        english = ENGLISH[n % len(ENGLISH)]
        other = every[(n + 17) % len(every)]
        yield Text("tail", code, f"{half} {tail}.", half)
        yield Text("sentence", code, f"{question} {SENTENCES[n % 4]}")
        if code != "en":
            yield Text("english", code, english)
        yield Text("other", code, other["list"].split("{}")[0].strip() + " " + other["english"].split(": ")[-1])
        yield Text("opener", code, f"{half} {SENTENCES[(n + 3) % len(SENTENCES)]}", half)
        yield Text("before", code, f"{SENTENCES[n % 4]} {question}")
