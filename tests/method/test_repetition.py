"""Loops of weak models are found; what people repeat on purpose is left alone."""

from __future__ import annotations

import calendar
import json

import pytest

from magpie_ollama.method import languages
from magpie_ollama.method.repetition import babbles, harps, loops

REFRAIN = "\n\n".join(
    f"{verse}\nAnd the river ran on, and the river ran on,\nAnd nobody asked where the river had gone."
    for verse in (
        "The miller rose early and opened the gate,\nThe water was low and the farmers were late.",
        "The children came laughing with boats made of bark,\nThey sailed them till evening, they lost them in dark.",
        "The winter came quietly, silver and thin,\nIt knocked at the mill and the miller said: in.",
        "The miller grew old and the wheel became still,\nThe moss and the swallows moved into the mill.",
    )
)
CHORUS = "I came to the mountain alone with my song.\n" + "Sing it again, sing it again!\n" * 4
DAYS = "\n".join(f"Day {day}: Run {2 + day // 3} km, then walk {10 + day} minutes" for day in range(1, 31))
TIMES = "\n".join(f"{a} x {b} = {a * b}" for a in range(1, 11) for b in range(1, 11))
MARKDOWN = "| Month | Rain | Sun |\n| --- | --- | --- |\n" + "\n".join(
    f"| {month} | {rain} mm | {120 - rain} h |"
    for month, rain in zip(calendar.month_name[1:], range(80, 20, -5), strict=True)
)
TRUTH = "| A | B | C | D | E | A and B |\n" + "\n".join(
    "| " + " | ".join(str(bool(n & bit)) for bit in (16, 8, 4, 2, 1)) + f" | {n >= 24} |" for n in range(32)
)
YES = "| Feature | Free | Paid |\n|---|---|---|\n" + "\n".join(
    f"| {name} | Yes | Yes |" for name in ("Search", "Export", "Import", "History", "Backup", "Themes", "Plugins")
)
HTML = "```html\n<ul>\n" + "    <li>Item</li>\n" * 12 + "</ul>\n```"
OPEN_HTML = "Here is the list:\n\n```html\n<ul>\n" + "    <li>Item</li>\n" * 8
LINKS = "<ul>\n" + "\n".join(
    f'  <li><a href="#{name.lower()}">{name}</a></li>'
    for name in ("Home", "About", "Work", "Team", "Blog", "Shop", "Press", "Jobs", "Help", "Login", "Terms", "Map")
)
PRINTS = 'def hello():\n    print("Hello")\n    print("Hello")\n    print("Hello")\n    print("Hello")\n'
RECORDS = json.dumps(
    [{"id": n, "enabled": True, "type": "string", "name": f"field{n}", "value": None} for n in range(30)], indent=2
)
MATRIX = "\n".join(" ".join("1" if row == column else "0" for column in range(12)) for row in range(12))
RULE = "Report\n" + "=" * 78 + "\nNothing to report.\n" + "-" * 78
TABLE_RULES = ("+" + "-" * 18) * 4 + "+\n| alpha | beta | gamma | delta |\n" + ("+" + "-" * 18) * 4 + "+"
CSS = "\n".join(
    f".{name} {{\n  margin: 0;\n  padding: {pad}px;\n  color: #{pad}{pad}{pad};\n}}"
    for pad, name in enumerate(("header", "nav", "main", "aside", "footer", "card", "button", "input"), 1)
)
SQL = "\n".join(
    f"INSERT INTO people (name, age, city) VALUES ('{name}', {age}, '{city}');"
    for name, age, city in (("Ada", 36, "London"), ("Emmy", 53, "Göttingen"), ("Sofia", 41, "Stockholm"),
                            ("Marie", 66, "Paris"), ("Lise", 89, "Cambridge"), ("Rosa", 47, "Berlin"))
)  # fmt: skip
LAUGH = "She looked at the cake on the floor and laughed: ha ha ha ha ha ha ha ha ha!"
NUMBERED = "\n".join(
    f"{n}. {verb} the {thing} with a soft cloth and let it dry."
    for n, (verb, thing) in enumerate(
        (("Wipe", "table"), ("Clean", "lamp"), ("Polish", "mirror"), ("Dust", "shelf"), ("Rub", "handle"),
         ("Dry", "glass"), ("Wash", "window"), ("Sweep", "corner")), 1)
)  # fmt: skip
CHINESE_LIST = "\n".join(
    f"{n}. {line}"
    for n, line in enumerate(
        ("每天喝足够的水，保持身体水分。", "每天走路三十分钟，锻炼心肺。", "每天睡够八个小时，恢复精力。",
         "每天吃新鲜的蔬菜和水果。", "每周和家人朋友见一次面。", "每月读完一本自己喜欢的书。"), 1)
)  # fmt: skip
JAPANESE = (
    "雨が降る、雨が降る、静かな町に雨が降る。\n傘をさして歩く人、窓から空を見る人。\n"
    "雨が降る、雨が降る、遠い山にも雨が降る。\n蛙は鳴き、子どもは笑い、花は色を濃くする。\n"
    "雨が降る、雨が降る、わたしの胸に雨が降る。"
)

HINDI = "\n".join(
    f"{name} {relative} के घर पर रहकर {hour} बजे तक काम करती है, मगर बहन {sister} दफ़्तर जाती है।"
    for name, relative, hour, sister in map(
        str.split,
        ("राधा दादा दो नीना", "सीता नानी तीन टीना", "गीता मामा चार रीना", "मीना चाचा पाँच लीला",
         "नीना काका छः शीला", "टीना मौसी सात मीरा", "रीना दीदी दो रूपा", "लीला नाना तीन रेखा",
         "शीला दादी चार माला", "मीरा मामी पाँच सोना", "रूपा चाची छः गौरी", "रेखा काकी सात राधा",
         "माला मौसा दो सीता", "सोना बुआ तीन गीता", "गौरी ताऊ चार मीना"),
    )
)  # fmt: skip

VERSE_TWICE = 2 * (
    "The wind came over the hill and the wheat bent down, the children ran home and the dog ran after them, and all "
    "the doors of the long grey street were shut before the rain began to fall.\n"
)

TRUE_TEXTS = {name: value for name, value in globals().copy().items() if name.isupper() and isinstance(value, str)}

GOOD = "".join(f"{exemplar.instruction} {exemplar.response}\n" for exemplar in languages.load("en").exemplars)[:1500]

PARAGRAPH = (
    "In addition to this, the committee has decided that every member of the association must be informed about the "
    "changes in good time, so that they can prepare their own departments, speak with their colleagues about what is "
    "expected, and report to the board before the end of the month at the very latest, as the statutes demand. "
)
GREEDY = {
    "a clause to the end": "The best way to learn is to practise. " + "You can also ask a friend to help you. " * 8,
    "nested quotes": "Pregocere: " + '"Pregocere: ' * 20,
    "a word": "The answer is " + "very " * 40,
    "numbered": "Some tips:\n" + "".join(f"{n}. Use a good pair of shoes that fits you.\n" for n in range(1, 16)),
    "numbered in a row": "".join(f"{n}. the number of people " for n in range(7, 40)),
    "newlines": "The capital of France is Paris." + "\n" * 200,
    "newlines and spaces": "The capital of France is Paris." + "\n " * 100,
    "Chinese": "中国的首都是北京。" + "北京是一个美丽的城市，" * 14,
    "Japanese": "東京は日本の首都です。" + "とても大きな街です。" * 16,
    "Thai": "กรุงเทพเป็นเมืองหลวง" + "มีผู้คนอาศัยอยู่มากมาย" * 12,
    "after 1,500 good characters": GOOD + "and the same is true of the others, " * 8,
    "a long period": PARAGRAPH * 3,
    "a long period, cut in its middle": GOOD + PARAGRAPH * 3 + PARAGRAPH[:140],
    "a very long period": (PARAGRAPH + GOOD[:700]) * 3,
    "small changes": " ".join(
        f"The {word} is a part of the body that is used to make the body of the person move."
        for word in ("arm", "leg", "arm", "hand", "leg", "foot", "arm", "hand", "arm", "leg", "foot", "arm")
    ),
    "small changes, Chinese": "".join(
        f"{word}是身体的一个非常重要的部分，我们每天都要好好地保护它。"
        for word in ("手", "脚", "手", "头", "脚", "手", "头", "手", "脚", "头", "手", "脚", "头", "手", "脚")
    ),
    "small changes, Hindi": " ".join(
        f"{word} शरीर का एक बहुत ज़रूरी अंग है, जिसकी देखभाल हमें हर दिन अच्छी तरह से करनी चाहिए।"
        for word in ("हाथ", "पैर", "हाथ", "सिर", "पैर", "हाथ", "पैर", "सिर", "हाथ", "पैर", "सिर", "हाथ")
    ),
    "list items": "Ideas:\n" + "- A book about the history of the city\n" * 12,
    "code": "```python\n" + "    x = x + 1  # add one to x\n" * 30,
    "a rule without an end": "| a | b |\n|" + "-" * 700,
    "sums": "1 + 1 = 2, so the answer is " * 12,
}


@pytest.mark.parametrize("name", TRUE_TEXTS)
def test_people_repeat_on_purpose(name: str) -> None:
    text = TRUE_TEXTS[name]
    assert not loops(text)
    cut = [end for end in range(1, len(text)) if loops(text[:end], caution=2)]
    assert not cut, f"cut while being written, at {cut[0]}: {text[: cut[0]][-100:]!r}"


@pytest.mark.parametrize("code", languages.codes())
def test_prose_is_no_loop(code: str) -> None:
    language = languages.load(code)
    text = "\n\n".join(f"{exemplar.instruction}\n{exemplar.response}" for exemplar in language.exemplars)
    assert not any(loops(text[:end]) for end in range(50, len(text) + 50, 50))


@pytest.mark.parametrize("name", GREEDY)
def test_greedy_loops(name: str) -> None:
    assert loops(GREEDY[name])


@pytest.mark.parametrize("name", GREEDY)
def test_loops_are_found_while_they_are_written(name: str) -> None:
    """Within 1,200 characters of the loop's going on, however cautious: a third of what a response may have."""
    text = GREEDY[name]
    unit = text[-400:]
    assert loops(text + unit * 3, caution=2) or any(loops(text + unit[:end], caution=2) for end in range(1, 400, 7))


def test_a_loop_that_was_left_again_is_none() -> None:
    loop = "You can also ask a friend to help you. " * 8
    assert loops(loop)
    assert not loops(loop + GOOD[:700])


@pytest.mark.parametrize("text", ["", " ", "\n", "a", "???", "12", "aaaa", "🙂🙂🙂"])
def test_next_to_nothing_is_no_loop(text: str) -> None:
    assert not loops(text)


def test_an_instruction_that_harps_on_a_phrase_is_none() -> None:
    assert harps("¿Vale la pena de la música y la es una música de la música y la es una música de la música?")
    assert harps("Voor het kloof is het van het Nederlandse mens, van het Nederlandse mens, van het Nederlandse mens.")
    assert not harps("When I find myself in times of trouble: who wrote it, when was it written, and what is it about?")
    assert not harps("la la la la la la la")


def test_a_line_of_few_words_in_ever_new_order_is_babble() -> None:
    assert babbles("El el de la que el de la que en la de el que la de en el que la de en el que")
    assert not babbles(
        "Wenn hinter Fliegen Fliegen fliegen, fliegen Fliegen Fliegen nach, sagt man bei uns im Dorf so."
    )
    assert not babbles(
        "true true true\ntrue false false\nfalse true false\nfalse false false\nnot true false\ntrue not"
    ), "a table"
