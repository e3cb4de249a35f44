"""Predict the classes of your own images: `glimpse-predict` of an installed package, without installing it.

python agents/predict.py --help
"""

from glimpse_env.commands import predict

if __name__ == "__main__":
    predict.run("python agents/predict.py")
