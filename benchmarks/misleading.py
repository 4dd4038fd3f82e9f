"""Prompts whose wording points to another topic than their answer. Our own sentences.

The rule: the answer is of the topic that a prompt is listed under, and its words are those of another one. Code is
asked for as documentation, tables are asked about without naming SQL, and topics borrow each other's subjects.
"""

MISLEADING: dict[str, tuple[str, ...]] = {
    "python": (
        "Document how the items of a list are put into reverse order.",
        "Explain with an example how a dictionary is sorted by its values.",
        "Describe the steps that find the longest word in a sentence, as code.",
        "Write the reference page of a routine that removes vowels from a text, with its body.",
        "Show how a class keeps a list of patients and their blood pressure.",
        "Give a worked solution that adds up the prices of all apples and oranges in a basket.",
        "Summarise how two lists of names become one without duplicates, and give the implementation.",
        "How would one read every file of a directory and count its lines in a script?",
        "Write a function that computes the body mass index from height and weight.",
        "Describe a small game in which the player guesses a number, and give its source.",
        "Write a function that builds the text of a SELECT statement from a list of columns.",
        "Explain how the rows of a table are grouped by city, with a short program.",
    ),
    "sql": (
        "Which patients have a blood pressure above 140?",
        "How many doctors work in the hospital with the most beds?",
        "Who scored more than 30 points in the last game?",
        "What is the total price of all apples sold in May?",
        "Which files are larger than 10 megabytes and older than a year?",
        "How many users have logged in to the server named alpha?",
        "What medicine was given to the oldest patient?",
        "Tell me the names of all pirates who sailed on more than two ships.",
        "Which students take both the python class and the math class?",
        "What is the average age of the actors who played a detective?",
        "On which date did the home team lose by 3 goals ?",
        "How much did each shop earn in the first week of June?",
    ),
    "math": (
        "A nurse gives 15 ml of syrup 3 times a day. How many days does a bottle of 450 ml last?",
        "A table has 12 rows and 8 columns. Nine cells are empty. How many cells are filled?",
        "A script prints 24 lines a second. How many lines does it print in 3 minutes?",
        "A disk holds 500 gigabytes and three fifths of it are used. How many gigabytes are free?",
        "A doctor sees 4 patients an hour and works 7 hours a day. How many patients does she see in 5 days?",
        "A pirate shares 96 coins with 7 friends in equal parts. How many coins does each of them get?",
    ),
    "shell": (
        "What is the way to see who is logged in to this machine",
        "How many lines does the table in data.csv have, counted without opening it",
        "List the names of all files that mention patients",
        "Run the python script every night at two",
        "Add up the numbers in the second column of prices.txt",
        "Tell a story to everybody who is logged in by writing to their terminals",
    ),
    "medical": (
        "How many people have Down syndrome ?",
        "What is the function of the liver, and what happens when it does not work ?",
        "List the tests that are run for Celiac Disease ?",
        "What is (are) Carpal Tunnel Syndrome in people who write programs ?",
        "Who should be counted as at risk for Gout ?",
        "What changes the value of the number of red blood cells ?",
    ),
    "chat": (
        "Imagine you are a surgeon in the year 1700. Describe a day at work.",
        "You are a database that has grown tired of questions. Complain to your users.",
        "Write a short poem about a snake that learns to write programs.",
        "Pretend you are the number seven and introduce yourself to the other numbers.",
        "Act as a wizard who only speaks in terminal commands, and greet a traveller.",
        "What should I consider before I take up the study of medicine?",
    ),
}
