"""What is compared with PyTorch, class by class, and how closely it agreed.

Each file lists cases of one topic; case.py says what a case is, compare.py runs one, and
`python -m agreement --write ../bench/results/agreement.md` (from tests/) writes the table.
"""
