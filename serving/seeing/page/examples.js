// A question for each topic that people tend to have, and one that no topic knows.

export const EXAMPLES = [
  ["sql", "What is the average salary of employees in each department?"],
  ["math", "Tom earns $15 an hour and works 8 hours a day. How much does he earn in 5 days?"],
  ["python", "Write a python function to check whether a string is a palindrome."],
  ["shell", "Extract a tar archive into a specific directory (tar)"],
  ["medical", "What are the treatments for Migraine ?"],
  ["chat", "What should I consider before I adopt a dog?"],
  ["off topic", "what time does my flight to boston leave"],
];
