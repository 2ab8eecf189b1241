"""Each recipe, command after command, on the mocked server; only the numbers of records are smaller."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands.support import Runner
from docs.pages import ROOT, commands
from fake_ollama import Ask, FakeModel, FakeOllama, Reply, chatml, default_script, question, stop_parameters

FEW = 16
"""Records, where a recipe makes hundreds."""

DUTCH = """
Hoeveel verf heb ik nodig voor een muur van vier bij drie meter?
Leg uit hoe je de oppervlakte van een driehoek berekent.
Een trein rijdt negentig kilometer per uur. Hoe ver komt hij in veertig minuten?
Wat is de kans dat ik met twee dobbelstenen samen zeven gooi?
Los deze vergelijking op en laat elke stap zien: 3x + 5 = 20.
Mijn spaargeld krijgt twee procent rente per jaar. Na hoeveel jaar is het verdubbeld?
Bedenk drie oefeningen over breuken voor een kind van tien jaar.
Waarom is de som van de hoeken van een vierkant altijd gelijk?
Hoe deel ik een rekening van zestig euro eerlijk over vijf vrienden?
Geef een bewijs dat er oneindig veel priemgetallen bestaan.
Kun je de afgeleide van een kwadraat eenvoudig uitleggen?
Een recept is voor vier personen. Hoe reken ik het om naar tien gasten?
Wat betekent het als twee lijnen loodrecht op elkaar staan?
Maak een tabel met de tafels van zes, zeven en acht voor mijn zoon.
Hoe groot is de straal van een cirkel met een omtrek van dertig centimeter?
Vat de stelling van Pythagoras samen in twee zinnen.
Welke korting krijg ik als een jas van tachtig euro nog zestig kost?
Waarom mag je niet door nul delen?
Schat hoeveel knikkers er in een pot van een liter passen.
Verdeel een erfenis volgens de verhouding twee staat tot drie.
Hoe bereken je het gemiddelde, de mediaan en de modus van een reeks?
Teken in woorden de grafiek van een dalende rechte lijn.
Is elk even getal groter dan twee de som van twee priemgetallen?
Hoelang doet een kraan erover om een bad van honderd liter te vullen?
""".strip().splitlines()


def script(ask: Ask) -> Reply:
    """Spanish questions are answered in English at first. And the mocked server has no Dutch of its own."""
    if ask.kind == "chat" and "¿" in ask.prompt and not ask.body["options"]["temperature"]:
        return Reply("I am sorry, but I would rather answer this question in English, as I do every day.")
    if "Nederlands" not in ask.prompt and "Hoe" not in ask.prompt:
        return default_script(ask)
    if ask.kind == "chat":
        return Reply("Reken het rustig stap voor stap uit en schrijf elke tussenstap netjes op.")
    return Reply(DUTCH[(ask.body["options"].get("seed") or 0) % len(DUTCH)])


ELSEWHERE = ("improve", "italian-sft")
"""One trains a model in between; the other has a test of its own (tests/commands/test_recipes.py)."""

RECIPES = [page for page in sorted((ROOT / "docs" / "recipes").glob("*.md")) if page.stem not in ELSEWHERE]


def smaller(words: list[str]) -> list[str]:
    for at, word in enumerate(words):
        if word in ("-n", "--total"):
            words[at + 1] = str(min(int(words[at + 1]), FEW))
        elif word == "--split":
            words[at + 1] = "0.5"  # of few records, some on both sides
    return words


@pytest.fixture
def theirs() -> None:
    """What a reader has already: questions, and somebody else's set."""
    Path("fragen.txt").write_text("\n".join(question(seed, "de") for seed in range(1, 25)) + "\n", "utf-8")
    rows = (
        {
            "instruction": question(seed, "it"),
            "output": "Con un poco di pazienza si fa tutto, anche in una casa piccola.",
        }
        for seed in range(1, 21)
    )
    Path("theirs.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.stem)
def test_recipe(recipe: Path, run: Runner, theirs: None) -> None:
    model = FakeModel(name="llama3.2:latest", template=chatml(), parameters=stop_parameters("<|im_end|>"))
    with FakeOllama(models=[model], script=script) as fake:
        for words in commands(recipe.read_text("utf-8")):
            done = run(*smaller(words), OLLAMA_HOST=fake.url)
            assert done.code in (0, 1) if words[0] == "check" else done.code == 0, f"{' '.join(words)}\n{done.err}"
