"""The traffic lights at the top of a report: one line a question."""

from __future__ import annotations

from dataclasses import dataclass

from ganatomy.reports.results import Metrics

QUESTIONS = {"realistic": ("Do they look real?", "good"), "diverse": ("Are they diverse?", "good"),
             "copies": ("Are they copies of patients?", "copies"),
             "enough data": ("Is there enough data to say so?", "data")}
WORDS = {"green": "Good", "amber": "Caution", "red": "Problem", "grey": "Cannot tell"}
# each light has a shape of its own: colour alone is lost on paper and on colour-blind readers
SHAPES = {"green": "M12 2a10 10 0 1 0 .01 0zM6.5 12.5l4 4 7-8",
          "amber": "M12 2.5L22.5 21.5H1.5zM12 9.5v5.5M12 17.6v1.2",
          "red": "M7.5 1.5h9l6 6v9l-6 6h-9l-6-6v-9zM8 8l8 8M16 8l-8 8",
          "grey": "M12 2a10 10 0 1 0 .01 0zM9 9.5a3 3 0 1 1 4.6 2.6c-1.1.7-1.6 1.2-1.6 2.4M12 17v1.2"}


@dataclass(frozen=True, slots=True)
class Light:
    """A question with its answer: colour, word and shape, a sentence, and where the report shows why."""

    question: str
    colour: str
    word: str
    shape: str  # the path of an SVG 24 wide and high
    says: str
    link: str  # the id of a section


def lights(metrics: Metrics | None) -> list[Light]:
    """The lights in the file's order; none where it has none. An unknown colour is grey."""
    made = []
    for verdict in metrics.verdicts if metrics else ():
        colour = verdict.light if verdict.light in WORDS else "grey"
        question, link = QUESTIONS.get(verdict.question, (verdict.question[:1].upper() + verdict.question[1:], "good"))
        made.append(Light(question, colour, WORDS[colour], SHAPES[colour], verdict.says, link))
    return made
