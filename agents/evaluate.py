"""Evaluate a checkpoint: `glimpse-evaluate` of an installed package, without installing it.

python agents/evaluate.py --help
"""

from glimpse_env.commands import evaluate

if __name__ == "__main__":
    evaluate.run("python agents/evaluate.py")
