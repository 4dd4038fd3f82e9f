"""Prompts to measure with: a file of the user's, or a few of our own."""

from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from configs.console import read_records

OUT_OF_SCOPE = "out_of_scope"

OWN: dict[str, tuple[str, ...]] = {
    "sql": (
        "How many singers do we have?",
        "What is the name of the team with the most points?",
        "List the titles of all books published after 1990, newest first.",
        "What is the average salary of employees in each department?",
        "Which city has more than 3 airports?",
        "What was the score of the game on May 4 ?",
        "Show the names of students who take more than two courses.",
        "What is the highest rank with a time of 52.3 ?",
    ),
    "math": (
        "Anna has 12 apples. She gives 5 to Ben and buys 8 more. How many apples does she have now?",
        "A train travels 60 miles in one hour. How far does it travel in 4 hours and a half?",
        "Tom earns $15 an hour and works 8 hours a day. How much does he earn in 5 days?",
        "A shop sells pens at $2 each and notebooks at $3 each. What do 6 pens and 4 notebooks cost together?",
        "If 20 % of a number is 30, what is the number? A)100 B)120 C)150 D)180 E)200",
        "There are 24 students in a class and one third of them walk to school. How many do not walk?",
        "Maria reads 20 pages a day. How many days does she need for a book of 340 pages?",
        "A rectangle is 7 meters wide and twice as long. What is its area?",
    ),
    "python": (
        "Write a function to find the largest number in a list.",
        "Write a python function to check whether a string is a palindrome.",
        "Create a Python class for a bank account with methods to deposit and withdraw money.",
        "Write a function to count how often each word occurs in a text.",
        "Write a Python function that returns the n-th Fibonacci number.",
        "Fix the bug in this code.\ndef add(a, b):\n    return a - b",
        "Write a function to remove duplicates from a list and keep the order.",
        "Write a function to merge two sorted lists.",
    ),
    "shell": (
        "List all files in a directory, sorted by size (ls)",
        "Find all empty files under the current directory and delete them",
        "Show the running processes of a specific user (ps)",
        "Extract a tar archive into a specific directory (tar)",
        "Count the lines of all .txt files in the current directory",
        "Display the last 20 lines of a file and follow it (tail)",
        "Search recursively for a pattern and show line numbers (grep)",
        "Copy a file to a remote host over SSH (scp)",
    ),
    "medical": (
        "What are the symptoms of Asthma ?",
        "What causes Anemia ?",
        "How to diagnose Lyme Disease ?",
        "What are the treatments for Migraine ?",
        "What is (are) High Blood Pressure ?",
        "Who is at risk for Type 2 Diabetes? ?",
        "Is Cystic Fibrosis inherited ?",
        "What are the genetic changes related to Huntington disease ?",
    ),
    "chat": (
        "Imagine you are a pirate captain. Describe the day you found an island of gold.",
        "Can you explain why the sky turns red in the evening?",
        "You are a medieval blacksmith. Tell a traveller about your craft.",
        "What should I consider before I adopt a dog?",
        "Write a letter from a time traveller to their past self.",
        "Pretend you are a detective who has just solved the case of the missing painting.",
        "How do I stay motivated when I learn something new?",
        "Act as a tour guide in ancient Rome and show us the forum.",
    ),
    OUT_OF_SCOPE: (
        "what time does my flight to boston leave",
        "set an alarm for six in the morning",
        "please transfer 100 dollars from checking to savings",
        "what song is playing right now",
    ),
}


@dataclass(frozen=True, slots=True)
class Prompt:
    """A question and the topic that it is known to belong to (None: unknown)."""

    text: str
    topic: str | None


def load_prompts(source: Path | None, per_topic: int) -> list[Prompt]:
    """The first ``per_topic`` distinct prompts of each topic, topics in turn.

    Args:
        source: JSON lines with ``prompt`` and, if known, ``topic``; records of another ``split`` than
            validation are left out. A folder stands for its ``*.jsonl`` files. None takes our own prompts.
    """
    if source is None:
        known = [Prompt(text, topic) for topic, texts in OWN.items() if topic != OUT_OF_SCOPE for text in texts]
    else:
        files = sorted(source.glob("*.jsonl")) if source.is_dir() else [source]
        records = [record for file in files for record in read_records(file, needed=["prompt"])]
        kept = [record for record in records if record.get("split", "validation") == "validation"]
        known = [Prompt(record["prompt"], record.get("topic")) for record in kept]
    by_topic: dict[str | None, dict[str, Prompt]] = {}
    for prompt in known:
        chosen = by_topic.setdefault(prompt.topic, {})
        if prompt.topic != OUT_OF_SCOPE and len(chosen) < per_topic:
            chosen.setdefault(prompt.text, prompt)
    rounds = zip_longest(*(chosen.values() for chosen in by_topic.values()))
    return [prompt for turn in rounds for prompt in turn if prompt is not None]
