"""Why an attempt was rejected: the names that the funnel counts, each with its stage and its words."""

from __future__ import annotations

from enum import StrEnum


class Stage(StrEnum):
    INSTRUCTION = "instruction"
    RESPONSE = "response"
    FOLLOW_UP = "follow_up"
    """A later turn of the user. As with a response, an instruction was accepted before: what became of it is not held
    against the steering that brought that one."""


_ASKED, _ANSWERED, _FOLLOWED = Stage.INSTRUCTION, Stage.RESPONSE, Stage.FOLLOW_UP


class Reason(StrEnum):
    """A name, the stage at which the attempt was lost, what that means, and what helps where that is known."""

    stage: Stage
    words: str
    remedy: str

    def __new__(cls, name: str, stage: Stage = _ASKED, words: str = "", remedy: str = "") -> Reason:
        reason = str.__new__(cls, name)
        reason._value_ = name
        reason.stage, reason.words, reason.remedy = stage, words, remedy
        return reason

    EMPTY = "empty", _ASKED, "the model wrote nothing"
    TRUNCATED = "truncated", _ASKED, "the instruction was cut by the token limit"
    BROKEN_OFF = (
        "broken_off",
        _ASKED,
        "the server broke the instruction off: it was at neither an end nor a limit",
        "look into the server's log",
    )
    TOO_SHORT = "too_short", _ASKED, "fewer words than --min-words"
    TOO_LONG = "too_long", _ASKED, "more words than --max-words"
    WRONG_LANGUAGE = "wrong_language", _ASKED, "the instruction is not in the language asked for"
    INVENTED_WORDS = (
        "invented_words",
        _ASKED,
        "too many words of the instruction do not exist in the language, or one mixes scripts",
        "a larger model or a lower --temperature makes fewer such",
    )
    NOT_A_USER = "not_a_user", _ASKED, "an assistant or a system message speaks, not a user"
    RUN_ON = "run_on", _ASKED, "the instruction runs on into reasoning, an answer or another turn"
    CONTROL_CHARACTERS = (
        "control_characters",
        _ASKED,
        "the instruction has characters in it that steer a terminal or hide text",
    )
    REPETITION = "repetition", _ASKED, "the instruction repeats itself"
    DUPLICATE = (
        "duplicate",
        _ASKED,
        "the same instruction was there before, or it only copies its exemplar or opener",
    )
    NEAR_DUPLICATE = "near_duplicate", _ASKED, "nearly the same instruction was there before"
    LOW_CONFIDENCE = "low_confidence", _ASKED, "the model was less sure than --min-confidence"
    NO_ANSWER = (
        "no_answer",
        _ASKED,
        "the server gave no complete instruction, in several tries",
        "look into the server's log",
    )
    PLUGIN = "plugin", _ASKED, "a plugin's check objected to the instruction", "look which one: it is told at the end"
    RESPONSE_EMPTY = "response_empty", _ANSWERED, "the response was empty"
    RESPONSE_ALL_REASONING = (
        "response_all_reasoning",
        _ANSWERED,
        "all that came was told as reasoning: the server's reasoning parser takes the answers",
        "ask for the reasoning with --think, or give the server another --reasoning-parser (or none)",
    )
    RESPONSE_TRUNCATED = (
        "response_truncated",
        _ANSWERED,
        "the response was cut by the token limit (--keep-truncated keeps such)",
    )
    RESPONSE_BROKEN_OFF = (
        "response_broken_off",
        _ANSWERED,
        "the server broke the response off: it was at neither an end nor a limit",
        "look into the server's log",
    )
    RESPONSE_WRONG_LANGUAGE = (
        "response_wrong_language",
        _ANSWERED,
        "the response is not in the language asked for",
    )
    RESPONSE_INVENTED_WORDS = (
        "response_invented_words",
        _ANSWERED,
        "too many words of the response do not exist in the language, or one mixes scripts",
        "a larger model or a lower --temperature makes fewer such",
    )
    RESPONSE_REASONING = (
        "response_reasoning",
        _ANSWERED,
        "the response is reasoning, or has a mark of it in it",
    )
    RESPONSE_RUN_ON = "response_run_on", _ANSWERED, "the response runs on into another turn"
    RESPONSE_CONTROL_CHARACTERS = (
        "response_control_characters",
        _ANSWERED,
        "the response has characters in it that steer a terminal or hide text",
    )
    RESPONSE_REPETITION = "response_repetition", _ANSWERED, "the response fell into a loop"
    RESPONSE_ECHO = "response_echo", _ANSWERED, "the response only repeats the instruction"
    RESPONSE_COPY = "response_copy", _ANSWERED, "the response copies an exemplar's answer"
    RESPONSE_NOT_GROUNDED = (
        "response_not_grounded",
        _ANSWERED,
        "the response does not rest on its passage of the document: it has too few of its rarer words and numbers",
        "take a larger model, or give a --document that answers what is asked about it",
    )
    RESPONSE_PLUGIN = (
        "response_plugin",
        _ANSWERED,
        "a plugin's check objected to the response",
        "look which one: it is told at the end",
    )
    RESPONSE_TOO_LONG = (
        "response_prompt_too_long",
        _ANSWERED,
        "the instruction did not fit into the context with its response",
    )
    RESPONSE_NO_ANSWER = (
        "response_no_answer",
        _ANSWERED,
        "the server gave no complete response, in several tries",
        "look into the server's log",
    )
    FOLLOW_UP_CLOSING = "follow_up_closing", _FOLLOWED, "the user only thanks or takes leave, with too few turns"
    FOLLOW_UP_ECHO = "follow_up_echo", _FOLLOWED, "a later turn of the user only repeats an answer"
    FOLLOW_UP_UNRELATED = "follow_up_unrelated", _FOLLOWED, "a later turn of the user is about something else"
    FOLLOW_UP_COMMON = "follow_up_common", _FOLLOWED, "too many conversations have just this turn of the user"
    FOLLOW_UP_NO_ROOM = (
        "follow_up_no_room",
        _FOLLOWED,
        "the conversation filled the context with too few turns",
        "give more context with --num-ctx, or ask for fewer --turns",
    )


NO_ROOM = frozenset((Reason.RESPONSE_TOO_LONG, Reason.FOLLOW_UP_NO_ROOM))

EXPLANATIONS: dict[str, str] = {reason: reason.words for reason in Reason}
"""Each reason in words, for the summary and the documentation."""
