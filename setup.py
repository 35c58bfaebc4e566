"""What pyproject.toml cannot say: the configs' place in a wheel, and the extras."""

from pathlib import Path

from setuptools import find_packages, setup


def requirements(name: str) -> list[str]:
    """The lines of a file of requirements."""
    lines = (Path(__file__).parent / name).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


train = requirements("requirements.txt")
export = requirements("requirements-export.txt")
setup(
    packages=[*find_packages(include=["darkrank_jax*"]), "darkrank_jax.configs.configs"],
    # See darkrank_jax/configs/__init__.py.
    package_dir={"darkrank_jax.configs.configs": "configs"},
    extras_require={
        "train": train,
        "export": export,
        "all": [*train, *export],
        "cuda": ["jax[cuda13]"],
        "tpu": ["jax[tpu]"],
    },
)
