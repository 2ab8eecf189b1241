"""The default script: questions by the thousand, each from its seed, and answers to them."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any
from zlib import crc32

from .generation import Ask, Reply, Script


def _listed(text: str) -> list[str]:
    return [" ".join(item.split()) for item in text.split(";")]


# {t} is a thing to do, {w} for whom or where, {a} an afterthought. Their product is what can be asked.
_PARTS: dict[str, tuple[list[str], list[str], list[str], list[str]]] = {
    "en": (
        [
            "How can I {t} {w}?{a}",
            "What is the best way to {t} {w}?{a}",
            "Write a short guide that explains how to {t} {w}.{a}",
            "I would like to {t} {w}. Where should I begin?{a}",
            "Give me five practical tips to {t} {w}.{a}",
            "Could you compare two methods to {t} {w}?{a}",
            "Which mistakes do people make when they {t} {w}?{a}",
            "Draft a polite letter that asks a neighbour for help to {t} {w}.{a}",
            "How much money and time does it take to {t} {w}?{a}",
            "My sister wants to {t} {w}. What would you tell her?{a}",
            "Explain why it is harder than it looks to {t} {w}.{a}",
            "Make a weekly plan that helps me to {t} {w}.{a}",
        ],
        _listed("""
            grow tomatoes; learn the cello; repair a wooden chair; read old maps; bake sourdough bread;
            train for a half marathon; record bird songs; sort a stamp collection; paint with watercolours;
            write a detective story; restore a rusty bicycle; photograph the night sky; keep honey bees;
            study the Roman empire; build a small telescope; translate poems; run a chess club;
            save electricity; plan a camping trip; teach fractions; design a board game; compost leaves;
            understand tax forms; clean a camera lens; brew ginger beer; knit warm socks; raise ducks;
            practise public speaking; trace my family history; program a weather station; tune a piano;
            sing in a choir; fold paper cranes; negotiate a salary; memorise vocabulary; dry mushrooms;
            interview a scientist; draw comic strips; survive a power cut; sail a dinghy"""),
        _listed("""
            on a tiny balcony; with two small children; in a noisy city; without spending much; at school;
            during a cold winter; as a complete beginner; after work; in less than a month; by hand;
            for an elderly uncle; in a rented flat; while travelling; with a broken arm; from memory;
            on a remote island; together with friends; for a local museum; before sunrise;
            without internet"""),
        _listed("""
            ; I have failed at it twice.; Please keep it simple.; Name your sources.; Use a table.;
            I am seventy years old.; Assume that I live in Canada.; Answer in three paragraphs.;
            Mention the risks too.; I only have an hour a day.; Which tools do I need?;
            Tell me when to give up."""),
    ),
    "es": (
        [
            "¿Cómo puedo {t} {w}?{a}",
            "¿Cuál es la mejor manera de {t} {w}?{a}",
            "Escribe una guía breve que explique cómo {t} {w}.{a}",
            "Me gustaría {t} {w}. ¿Por dónde debería empezar?{a}",
            "Dame cinco consejos prácticos para {t} {w}.{a}",
            "¿Qué errores comete la gente cuando intenta {t} {w}?{a}",
        ],
        _listed("""
            cultivar tomates; aprender a tocar la guitarra; reparar una silla de madera; hornear pan casero;
            preparar una carrera larga; escribir una novela corta; fotografiar las estrellas; criar abejas;
            estudiar la historia de Roma; ahorrar electricidad; organizar un viaje al norte;
            tejer una bufanda; hablar mejor en público; aprender palabras nuevas; dibujar retratos;
            cuidar un gato enfermo"""),
        _listed("""
            en un balcón pequeño; con dos niños; sin gastar mucho dinero; durante el invierno; desde cero;
            después del trabajo; en menos de un mes; con la ayuda de mis amigos; para mi abuela;
            en el campo"""),
        _listed("; Ya lo he intentado dos veces.; Explícalo de manera sencilla.; ¿Qué necesito comprar?"),
    ),
    "it": (
        [
            "Come posso {t} {w}?{a}",
            "Qual è il modo migliore per {t} {w}?{a}",
            "Scrivi una breve guida che spieghi come {t} {w}.{a}",
            "Mi piacerebbe {t} {w}. Da dove dovrei cominciare?{a}",
            "Dammi cinque consigli pratici per {t} {w}.{a}",
            "Quali errori fanno le persone quando cercano di {t} {w}?{a}",
        ],
        _listed("""
            coltivare i pomodori; imparare a suonare la chitarra; riparare una sedia di legno; fare il pane;
            preparare una gara di corsa; scrivere un racconto giallo; fotografare le stelle; allevare le api;
            studiare la storia di Roma; risparmiare elettricità; organizzare un viaggio al nord;
            lavorare a maglia; parlare meglio in pubblico; imparare parole nuove; disegnare ritratti;
            curare un gatto malato"""),
        _listed("""
            su un piccolo balcone; con due bambini; senza spendere molto; durante l'inverno; da zero;
            dopo il lavoro; in meno di un mese; con l'aiuto dei miei amici; per mia nonna; in campagna"""),
        _listed("; Ci ho già provato due volte.; Spiegalo in modo semplice.; Che cosa devo comprare?"),
    ),
    "de": (
        [
            "Wie kann ich {w} {t}?{a}",
            "Ich möchte {w} {t}. Womit fange ich an?{a}",
            "Meine Schwester will {w} {t}. Was soll ich ihr raten?{a}",
            "Welche Fehler mache ich, wenn ich versuche: {t}, und das {w}?{a}",
            "Gib mir fünf praktische Ratschläge, denn ich will {w} {t}.{a}",
            "Schreibe eine kurze Anleitung für Leute, die {w} {t} wollen.{a}",
        ],
        _listed("""
            Tomaten anbauen; Gitarre lernen; einen alten Stuhl reparieren; Brot backen; Bienen halten;
            für einen langen Lauf trainieren; eine Geschichte schreiben; die Sterne fotografieren;
            die Geschichte Roms verstehen; Strom sparen; eine Reise in den Norden planen; Socken stricken;
            besser vor Leuten sprechen; neue Wörter behalten; Gesichter zeichnen;
            eine kranke Katze pflegen"""),
        _listed("""
            auf einem kleinen Balkon; mit zwei Kindern; ohne viel Geld; im Winter; von Anfang an;
            nach der Arbeit; in weniger als einem Monat; mit meinen Freunden; für meine Großmutter;
            am Abend"""),
        _listed("; Zweimal ist es mir schon misslungen.; Bitte ganz einfach.; Was muss ich dafür kaufen?"),
    ),
}

_ANSWERS: dict[str, list[str]] = {
    "en": _listed("""
        Start with a clear goal and write it down.; Give yourself a quiet hour on most days.;
        Ask somebody who has done it before.; Keep notes of what worked and what did not.;
        Cheap tools are good enough for the first attempts.; Expect a few failures and learn from them.;
        A short daily habit beats one long weekend.; Check your progress after two weeks.;
        Read one good book before you buy anything.; Stop while you still enjoy it."""),
    "es": _listed("""
        Empieza con un objetivo claro y escríbelo.; Reserva una hora tranquila casi todos los días.;
        Pregunta a alguien que ya lo haya hecho.; Apunta lo que funcionó y lo que no.;
        Las herramientas baratas bastan para los primeros intentos.;
        Revisa tu progreso después de dos semanas."""),
    "it": _listed("""
        Comincia con un obiettivo chiaro e scrivilo.; Riserva un'ora tranquilla quasi tutti i giorni.;
        Chiedi a qualcuno che l'ha già fatto.; Prendi nota di quello che ha funzionato e di quello che no.;
        Gli attrezzi economici bastano per i primi tentativi.;
        Controlla i tuoi progressi dopo due settimane."""),
    "de": _listed("""
        Beginne mit einem klaren Ziel und schreibe es auf.; Nimm dir fast jeden Tag eine ruhige Stunde.;
        Frage jemanden, der es schon gemacht hat.; Schreibe auf, was gelungen ist und was nicht.;
        Billiges Werkzeug genügt für die ersten Versuche.; Prüfe nach zwei Wochen, wie weit du bist."""),
}

_NAMES = {"es": "spanish español castellano", "it": "italian italiano", "de": "german deutsch"}
_WORDS = {
    "en": "the a an to of and how is what you your for with my it that are which i write give would could",
    "es": "el los las cómo qué para y del mi mis por un eres usted usuario responde escribe dame es puedo cuál",
    "it": "il lo gli come che per di sei un tuo utente rispondi scrivi dammi qual è posso quali da mi ci con",
    "de": "der die das und ich du bist ist mit für ein eine einen zu wie was welche bitte nutzer antworte auf",
}
_CODES: dict[str, list[str]] = {}
for _code, _words in _WORDS.items():
    for _word in _words.split():
        _CODES.setdefault(_word, []).append(_code)
_NAMED = re.compile(rf"\b({'|'.join(_NAMES.values()).replace(' ', '|')})\s*:\s*\Z", re.I)
_OPENER = re.compile(r"[^\s:>\]]\Z")


def language_of(prompt: str) -> str:
    """The language that a prompt steers to: named at its end, or else that of its last line or of all."""
    named = _NAMED.search(prompt)
    if named:
        return next(code for code, names in _NAMES.items() if named[1].lower() in names.split())
    for part in (re.split(r"[\n>\]]", prompt)[-1], prompt):
        words = re.findall(r"[^\W\d]+", part.lower())
        seen = Counter(code for word in words for code in _CODES.get(word, ()))
        if seen:
            return seen.most_common(1)[0][0]
    return "en"


def question(seed: int, language: str = "en") -> str:
    """Other seeds, other questions: neighbouring seeds share no part."""
    frames, things, where, thoughts = _PARTS[language]
    rest, a = divmod(crc32(b"%d" % seed), len(frames))
    rest, b = divmod(rest, len(things))
    rest, c = divmod(rest, len(where))
    thought = thoughts[rest % len(thoughts)]
    return frames[a].format(t=things[b], w=where[c], a=f" {thought}" if thought else "")


def answer(seed: int, about: str, language: str = "en") -> str:
    rng = random.Random(seed ^ crc32(about.encode()))
    return " ".join(rng.sample(_ANSWERS[language], 4))


def _seed(ask: Ask) -> int:
    return random.randrange(2**31) if ask.seed is None or ask.seed < 0 else ask.seed


def default_script(ask: Ask) -> Reply:
    """Raw: a user's question. Chat: an answer, in JSON where that is asked for."""
    seed = _seed(ask)
    if ask.kind == "chat":
        schema = wanted_schema(ask.body)
        if schema is not None:
            return Reply(json_by_schema(schema, random.Random(seed ^ crc32(ask.prompt.encode()))))
        last = str(ask.messages[-1]["content"]) if ask.messages else ""
        return Reply(answer(seed, last, language_of(last)))
    language = language_of(ask.prompt)
    # Another prompt, another question for the same seed.
    text = question(seed ^ crc32(ask.prompt.encode()), language)
    if _OPENER.search(ask.prompt):  # the prompt ends amid a sentence: only its rest is to be written
        text = " " + text.split(" ", 2)[-1]
    if "<|start|>" in ask.prompt:  # gpt-oss ends a turn by a token that does not end the generation
        text += "<|end|><|start|>assistant<|channel|>final<|message|>" + answer(seed, text) + "<|return|>"
    return Reply(text)


def chunked_script(chunks: int) -> Script:
    """The default script with replies of exactly so many tokens, for benchmarks."""

    def script(ask: Ask) -> Reply:
        seed = _seed(ask)
        pieces: list[str] = []
        language = language_of(ask.prompt if ask.kind == "raw" else str(ask.messages[-1]["content"]))
        while len(pieces) < chunks:
            words = (question if ask.kind == "raw" else _sentences)(seed + len(pieces), language).split(" ")
            pieces += [word if not pieces and not n else f" {word}" for n, word in enumerate(words)]
        return Reply(pieces[:chunks])

    return script


def _sentences(seed: int, language: str) -> str:
    return answer(seed, "", language)


def wanted_schema(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Ollama's `format` or OpenAI's `response_format`; {} stands for any JSON."""
    wanted = body.get("format")
    if wanted:
        return wanted if isinstance(wanted, dict) else {}
    wrapped = body.get("response_format") or {}
    if wrapped.get("type") == "json_schema":
        schema = wrapped["json_schema"].get("schema", {})
        return schema if isinstance(schema, dict) else {}
    return {} if wrapped.get("type") == "json_object" else None


def json_by_schema(schema: Mapping[str, Any], rng: random.Random) -> str:
    """Valid JSON for a schema, with the spaces inside the braces that real servers put there."""
    if "enum" in schema:
        return json.dumps(rng.choice(schema["enum"]), ensure_ascii=False)
    match schema.get("type", "object"):
        case "integer" | "number":
            low = int(schema.get("minimum", 0))
            return str(rng.randint(low, int(schema.get("maximum", low + 9))))
        case "boolean":
            return rng.choice(["true", "false"])
        case "string":
            return json.dumps(question(rng.randrange(2**31))[: schema.get("maxLength")])
        case "array":
            low = schema.get("minItems", 1)
            items = [json_by_schema(schema.get("items", {}), rng) for _ in range(max(low, 1))]
            return f"[ {', '.join(items)} ]"
        case "null":
            return "null"
    parts = [f'"{key}": {json_by_schema(sub, rng)}' for key, sub in schema.get("properties", {}).items()]
    return f"{{ {', '.join(parts)} }}"
