"""Write a trained agent as one file: `glimpse-export` of an installed package, without installing it.

python agents/export.py --help
"""

from glimpse_env.commands import export

if __name__ == "__main__":
    export.run("python agents/export.py")
