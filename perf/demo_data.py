"""The demo's data: customer messages -> ticket cards.

`python -m perf.demo_data` writes the very same files again.

A card has six fields and a reply:

    Customer: Ines Dahl
    Product: toaster
    Order: NB-4071
    Problem: handle loose
    Priority: normal
    Action: replace
    Reply: Sorry about that, Ines. A new toaster goes out this week.

Priority is high for a hazard or a near deadline, low when the customer says so, else normal. Action is
what the customer asks for, `ask` when they ask for nothing. Half of the supervised replies are right but
long-winded, as people write them; the preference pairs prefer the short, exact reply, to near misses of
the kinds that a model trained on the supervised rows makes: a promise for the wrong date, a problem in
nearly the right words.

Held-out messages share no name, product or problem with training. Two in three (`phrasing: unseen`)
share no phrase and no reply with it either.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from toolkit import io
from toolkit.recipe import PACKAGED

FOLDER = PACKAGED / "tickets"
LEXICON = Path(__file__).with_name("demo_lexicon.yaml")
SEED = 20
SIZES = {"sft": 192, "pairs": 56, "pairs-heldout": 16, "heldout": 48, "choice": 24}
FIELDS = ("Customer", "Product", "Order", "Problem", "Priority", "Action", "Reply")
ACTIONS = ("refund", "replace", "repair", "call", "ask")
SHORTEST_TYPO = 5
WHEN = {"high": "today", "normal": "this week", "low": "next week"}


@dataclass(frozen=True)
class Ticket:
    """What one message is about."""

    customer: str
    product: str
    other: str
    """Another product the message mentions."""
    order: str
    """`none` when the customer gives no number."""
    problem: str
    put: str
    """How the customer puts the problem."""
    priority: str
    action: str

    templates: dict[str, str] = field(compare=False)
    """What replies are made of."""

    @property
    def first_name(self) -> str:
        return self.customer.split()[0]

    def reply(self, *, number: bool = True) -> str:
        """The short, exact reply: it promises what the action says and nothing else.

        Args:
            number: ask for an order number that is missing.
        """
        when = WHEN[self.priority]
        parts = [self.templates["opening"], self.templates[self.action]]
        if number and self.order == "none" and self.action != "ask":
            parts.append(self.templates["number"])
        return " ".join(parts).format(
            name=self.first_name, product=self.product, when=when, When=when.capitalize()
        )

    def card(self, reply: str | None = None) -> str:
        values = (self.customer, self.product, self.order, self.problem, self.priority, self.action)
        rows = zip(FIELDS, (*values, reply or self.reply()), strict=True)
        return "\n".join(f"{name}: {value}" for name, value in rows)


class Writer:
    """Writes messages about random tickets.

    Args:
        lexicon: content of `demo_lexicon.yaml`.
        half: whose names, products and problems are used, `train` or `heldout`.
        seed: of the random choices.
        phrasing: whose phrases and replies are used; left out, those of `half`.
    """

    def __init__(self, lexicon: dict[str, Any], half: str, seed: int, phrasing: str | None = None) -> None:
        self.words, self.half, self.random = lexicon, half, random.Random(seed)
        self.phrases: dict[str, Any] = lexicon["phrases"][phrasing or half]
        self.replies: dict[str, str] = lexicon["replies"][phrasing or half]

    def ticket(self) -> tuple[Ticket, str]:
        """A ticket, and a message it can be read from."""
        pick = self.random.choice
        names = self.words["names"][self.half]
        group = self.words["groups"][pick(sorted(self.words["groups"]))][self.half]
        product, other = self.random.sample(group["products"], 2)
        problem, *puts = pick(group["problems"])
        urgency, hazard = pick(["high", "low", "normal", "normal"]), problem.startswith("!")
        ticket = Ticket(
            customer=f"{pick(names['first'])} {pick(names['last'])}",
            product=product,
            other=other,
            order=self._order() if self.random.random() < 0.85 else "none",
            problem=problem.removeprefix("!"),
            put=pick(puts),
            priority="high" if hazard else urgency,
            action=pick(ACTIONS),
            templates=self.replies,
        )
        if hazard:
            worry = [pick(self.phrases["alarms"])]
        else:
            worry = [] if urgency == "normal" else [pick(self.phrases["urgency"][urgency])]
        return ticket, self._message(ticket, worry)

    def _order(self) -> str:
        return f"NB-{self.random.randint(1_000, 9_999)}"

    def _message(self, ticket: Ticket, worry: list[str]) -> str:
        pick = self.random.choice
        middle = [self._fill("complaints", ticket)]
        if ticket.order != "none":
            middle.append(self._fill("orders", ticket))
        if self.random.random() < 0.4:
            middle.append(self._fill("distractions", ticket))
        self.random.shuffle(middle)
        bought = self._fill("bought", ticket)
        wish = [pick(self.phrases["wishes"][ticket.action])]
        self.random.shuffle(wish := wish + worry)
        greeting, name = pick(self.phrases["greetings"]), ticket.customer
        if self.random.random() < 0.5:
            start, end = f"{greeting} {pick(self.phrases['introductions']).format(name=name)}", ""
        else:
            start, end = greeting, pick(self.phrases["signoffs"]).format(name=name)
        body = " ".join([start, bought, *middle, *wish, end]).strip()
        return self._typo(body, ticket) if self.random.random() < 0.3 else body

    def _fill(self, phrases: str, ticket: Ticket) -> str:
        text = self.random.choice(self.phrases[phrases])
        fields = {"product": ticket.product, "other": ticket.other, "order": ticket.order}
        return str(text.format(problem=ticket.put, other_order=self._order(), **fields))

    def _typo(self, text: str, ticket: Ticket) -> str:
        """Two neighbouring letters change places in one word that no field is copied from."""
        words = text.split(" ")
        protected = f"{ticket.customer} {ticket.product} {ticket.problem} {ticket.order}".lower()
        long = [i for i, word in enumerate(words) if len(word) >= SHORTEST_TYPO and word.isalpha()]
        free = [i for i in long if words[i].lower() not in protected]
        if free:
            index = self.random.choice(free)
            word, at = words[index], self.random.randint(1, len(words[index]) - 3)
            words[index] = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
        return " ".join(words)


def long_winded(ticket: Ticket, rng: random.Random) -> str:
    """A right reply, with what people put around it."""
    openings = [
        f"Hello {ticket.first_name}, we are really sorry to hear about your {ticket.product}.",
        f"Hello {ticket.first_name}, thank you very much for writing to us about this.",
    ]
    closings = [
        " Please do not hesitate to contact us again.",
        " Your satisfaction means a great deal to us.",
    ]
    opening, closing = rng.choice(openings), rng.choice([*closings, "", ""])
    return f"{opening} {ticket.reply().split('. ', 1)[1]}{closing}"


def near_miss(flaw: str, ticket: Ticket, rng: random.Random) -> str:
    """A card with one flaw; on a ticket that the flaw does not fit, the card as it is."""
    wrong, reply = ticket, ticket.reply()
    match flaw:
        case "wrong_date":
            reply = _other_priority(ticket, rng).reply()
        case "long_winded":
            reply = long_winded(ticket, rng)
        case "near_problem":  # as the customer's sentence ends, turned round, or a word short
            words = ticket.problem.split(" ")
            short = rng.randrange(len(words))
            near = [ticket.put.split(" ")[-3:], [*words[1:], words[0]], words[:short] + words[short + 1 :]]
            problem = rng.choice([some for some in near if some and some != words])
            wrong = replace(ticket, problem=" ".join(problem))
        case "number_forgotten":
            reply = ticket.reply(number=False)
        case "wrong_field":
            wrong = rng.choice([_other_order, _other_priority, _other_action])(ticket, rng)
        case "wrong_promise":
            reply = _other_action(ticket, rng).reply()
        case _:
            gifts = ["a 10% voucher", "free shipping for a year", "a small gift", "double loyalty points"]
            reply += f" You also get {rng.choice(gifts)}."
    return wrong.card(reply)


def _other_order(ticket: Ticket, rng: random.Random) -> Ticket:
    if ticket.order == "none":
        return replace(ticket, order=f"NB-{rng.randint(1_000, 9_999)}")
    at = rng.randint(3, len(ticket.order) - 1)
    digit = rng.choice([d for d in "0123456789" if d != ticket.order[at]])
    return replace(ticket, order=ticket.order[:at] + digit + ticket.order[at + 1 :])


def _other_priority(ticket: Ticket, rng: random.Random) -> Ticket:
    return replace(ticket, priority=rng.choice([p for p in WHEN if p != ticket.priority]))


def _other_action(ticket: Ticket, rng: random.Random) -> Ticket:
    return replace(ticket, action=rng.choice([a for a in ACTIONS if a != ticket.action]))


FLAWS = """
    wrong_date long_winded near_problem long_winded wrong_date
    wrong_field number_forgotten near_problem wrong_promise invented_detail
""".split()
"""What is wrong in each of ten pairs: most often what a model still does wrong after supervised training."""


def build() -> dict[str, list[dict[str, Any]]]:
    """Every file's rows, by name; the same on every machine."""
    lexicon = yaml.safe_load(LEXICON.read_text(encoding="utf-8"))
    kinds = {
        "sft": ("train", "train", _supervised),
        "pairs": ("train", "train", _pair),
        "pairs-heldout": ("heldout", "train", _pair),
        "heldout": ("heldout", "heldout", _example),
        "choice": ("heldout", "heldout", _choice),
    }
    rows = {}
    for seed, (name, (half, phrasing, row)) in enumerate(kinds.items(), start=SEED):
        writers = [Writer(lexicon, half, seed, "train"), Writer(lexicon, half, seed + 100, phrasing)]
        rows[name] = [row(writers[index % 3 > 0], index) for index in range(SIZES[name])]
    return rows


def _supervised(writer: Writer, index: int) -> dict[str, Any]:
    ticket, message = writer.ticket()
    reply = long_winded(ticket, writer.random) if index % 4 > 1 else ticket.reply()
    prompt, completion = _turn("user", message), _turn("assistant", ticket.card(reply))
    return {"id": f"sft-{index}", "prompt": prompt, "completion": completion}


def _pair(writer: Writer, index: int) -> dict[str, Any]:
    flaw = FLAWS[index % len(FLAWS)]
    while True:
        ticket, message = writer.ticket()
        rejected = near_miss(flaw, ticket, writer.random)
        if rejected != ticket.card():
            break
    chosen = {"chosen": _turn("assistant", ticket.card()), "rejected": _turn("assistant", rejected)}
    return {"id": f"pair-{index}", "prompt": _turn("user", message), **chosen, "flaw": flaw}


def _example(writer: Writer, index: int) -> dict[str, Any]:
    ticket, message = writer.ticket()
    about = {"category": ticket.action, "phrasing": "unseen" if index % 3 else "seen"}
    question = {"id": f"heldout-{index}", "messages": _turn("user", message)}
    return {**question, "reference": ticket.card(), **about}


def _choice(writer: Writer, index: int) -> dict[str, Any]:
    ticket, message = writer.ticket()
    question = {"id": f"choice-{index}", "question": message}
    return {**question, "choices": list(ACTIONS), "answer": ACTIONS.index(ticket.action)}


def _turn(role: str, content: str) -> list[dict[str, str]]:
    return [{"role": role, "content": content}]


def write(folder: Path = FOLDER) -> None:
    """Write `<name>.jsonl` for every file."""
    for name, rows in build().items():
        lines = [json.dumps(row, ensure_ascii=False) for row in rows]
        io.write_text(folder / f"{name}.jsonl", "\n".join(lines) + "\n")


if __name__ == "__main__":
    write()
