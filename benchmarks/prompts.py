"""Prompts to measure with: a file of the user's, or a few of our own."""

from collections.abc import Sequence
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
        "How many employees are older than 40?",
        "Show the name and the budget of every department.",
        "Which students are not enrolled in any course?",
        "What is the total number of orders placed in March?",
        "List the names of all countries in Europe in alphabetical order.",
        "Who is the youngest player of the home team?",
        "What is the average attendance when the venue is Arden Street Oval?",
        "Find the titles of films that are longer than two hours.",
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
        "A box holds 12 eggs. How many boxes are needed for 150 eggs?",
        "Sarah is 4 years older than twice the age of her brother, who is 9. How old is Sarah?",
        "The price of a shirt is $40. It is reduced by 15 %. What is the new price?",
        "A tank is filled at 8 liters a minute. How long does it take to fill 360 liters?",
        "Five workers finish a job in 12 days. How many days do three workers need? A)15 B)18 C)20 D)24 E)30",
        "Paul buys 3 kg of apples at $2.50 a kg and pays with a $20 bill. How much change does he get?",
        "The sum of two numbers is 56 and their difference is 12. What is the larger one?",
        "A car uses 7 liters of fuel for 100 km. How much does it use for 350 km?",
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
        "Write a function to reverse the words of a sentence.",
        "Write a python function to find the sum of all even numbers in a list.",
        "Create a class for a stack with push, pop and peek.",
        "Write a function to check whether two strings are anagrams.",
        "Write a function that reads a CSV file and returns its rows as dictionaries.",
        "Write a function to find the second smallest number in a list.",
        "Generate a Python script that counts down from 10 to 1.",
        "Write a python function to convert a decimal number to binary.",
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
        "Create a directory and all its parents (mkdir)",
        "Compress a file and keep the original (gzip)",
        "Rename all .jpeg files in the current directory to .jpg",
        "Show the disk usage of each subdirectory, largest first (du)",
        "Download a file and resume a partial download (curl)",
        "Print the third column of a comma-separated file (awk)",
        "Change the owner of a directory and everything in it (chown)",
        "Replace every occurrence of a word in a file (sed)",
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
        "What are the symptoms of Diabetes ?",
        "What causes Kidney Stones ?",
        "How to prevent Stroke ?",
        "What are the treatments for Psoriasis ?",
        "What is (are) Marfan syndrome ?",
        "How many people are affected by Wilson disease ?",
        "What is the outlook for Epilepsy ?",
        "Do you have information about Heart Failure",
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
        "You are a lighthouse keeper. Tell me about the storm of last night.",
        "What is the difference between a comet and an asteroid?",
        "Write a short poem about the first snow of the year.",
        "Give me three ideas for a birthday party with little money.",
        "Imagine you are an astronaut on the way to Mars. Write a diary entry.",
        "How would you explain the internet to someone from the year 1800?",
        "Describe a busy market in the morning with all five senses.",
        "What are the advantages of learning to play an instrument?",
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


LONGEST = 900  # characters of a prompt: with its answer it fits 1,024 tokens of any tokenizer
WARM_UP = Prompt("Say hello to everybody.", None)


def load_prompts(source: Path | None, per_topic: int, longest: int | None = None) -> list[Prompt]:
    """The first ``per_topic`` distinct prompts of each topic, topics in turn.

    Args:
        source: JSON lines with ``prompt`` and, if known, ``topic``; records of another ``split`` than
            validation are left out. A folder stands for its ``*.jsonl`` files. None takes our own prompts.
        longest: characters; longer prompts are left out, for benches that need more prompts than choice.
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
        fits = longest is None or len(prompt.text) <= longest
        if fits and prompt.topic != OUT_OF_SCOPE and len(chosen) < per_topic:
            chosen.setdefault(prompt.text, prompt)
    rounds = zip_longest(*(chosen.values() for chosen in by_topic.values()))
    return [prompt for turn in rounds for prompt in turn if prompt is not None]


def in_blocks(prompts: Sequence[Prompt], repeats: int) -> list[list[int]]:
    """Numbers of ``prompts`` in ``repeats`` blocks that share no prompt and have the same mix of topics.

    The i-th prompt of a topic goes to block i mod ``repeats``, counted from another block for each topic.
    """
    blocks: list[list[int]] = [[] for _ in range(repeats)]
    seen: dict[str | None, int] = {}
    for number, prompt in enumerate(prompts):
        place = seen.setdefault(prompt.topic, len(seen))
        blocks[place % repeats].append(number)
        seen[prompt.topic] += 1
    return [block for block in blocks if block]
