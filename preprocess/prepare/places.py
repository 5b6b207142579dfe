"""Where things are: the project, its model definitions, and what may be deleted at any time."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / "model_repository"
"""The repository that holds the models' definitions; prepared in place unless another is named."""
CACHE = ROOT / ".cache"
PACKAGES = CACHE / "packages"
LOG = CACHE / "prepare.log"
"""What TensorFlow, MXNet and the others wrote during the last preparation."""
