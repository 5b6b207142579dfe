"""`manifest.json` at the root of a model repository: what each network is, where it came from, what was written."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from preprocess.engines import weights_file
from preprocess.prepare import storage
from preprocess.prepare.errors import PreparationError
from preprocess.prepare.form import FORM as FORM
from preprocess.prepare.form import OLDEST as OLDEST

NAME = "manifest.json"

NETWORKS = ("facenet", "arcface", "mtcnn")


@dataclass(frozen=True)
class Entry:
    """One prepared network."""

    form: int
    source: str
    """For people: the package, or the name of the file or folder, that the weights came from."""
    sources: dict[str, str]
    """SHA-256 of every source file, by file name."""
    files: dict[str, str]
    """SHA-256 of every file written, by its path in the repository."""
    engines: list[str]
    """Engines that can run it; the first is the default."""
    engine: str
    preprocessing: str
    """Name of what is done to a picture before the network sees it: part of the embedding's identity."""
    input_size: int
    """Side of the square picture the network takes; 0 for any."""
    embedding_size: int
    """How many numbers it gives for a face; 0 for a detector."""
    largest_difference: float
    """Between the native engine and ONNX, or ONNX and its form for CPUs, on unit vectors (a detector: on outputs)."""
    precision: str = "float32"
    """That of the form which is served; the float32 network's file stays beside it."""
    mean_cosine: float = 1.0
    """Between the served form's embeddings and the float32 network's, over faces that did not calibrate it."""
    worst_cosine: float = 1.0

    @property
    def weights_sha256(self) -> str:
        """The source file's SHA-256; of several files, that of their hashes, one a line, by file name."""
        hashes = [self.sources[name] for name in sorted(self.sources)]
        return hashes[0] if len(hashes) == 1 else hashlib.sha256("\n".join(hashes).encode()).hexdigest()

    def embedding_id(self, network: str) -> str:
        """What tells its embeddings from all that must not be compared with them."""
        name = f"{network}-{self.weights_sha256[:12]}-{self.preprocessing}"
        if self.precision == "float32":
            return name
        return f"{name}-{self.precision}-{self.files[f'{network}/1/{weights_file(self.precision)}'][:12]}"

    def in_float32(self) -> "Entry":
        """The same network without the form in another precision."""
        form = f"/{weights_file(self.precision)}"
        files = {
            file: digest
            for file, digest in self.files.items()
            if self.precision == "float32" or not file.endswith(form)
        }
        return dataclasses.replace(self, precision="float32", files=files, mean_cosine=1.0, worst_cosine=1.0)

    def intact(self, repository: Path) -> bool:
        """Tells whether every file it wrote is there as it wrote it, and of a form that can be brought up to date."""
        if not OLDEST <= self.form <= FORM:
            return False
        return all(self.holds(repository, file) for file in self.files)

    def holds(self, repository: Path, file: str) -> bool:
        """Tells whether one of its files is there as it wrote it."""
        path = repository / file
        return path.is_file() and storage.sha256(path) == self.files[file]


def read(repository: Path) -> dict[str, Entry]:
    """Gives the prepared networks by name; none where there is no manifest.

    Raises PreparationError for one that cannot be read: to take it for none would replace somebody's own weights.
    """
    path = repository / NAME
    known = [field.name for field in dataclasses.fields(Entry)]
    try:
        networks = json.loads(path.read_text())["networks"]
        return {
            name: Entry(**{key: written[key] for key in known if key in written})
            for name, written in networks.items()
            if name in NETWORKS
        }
    except FileNotFoundError:
        return {}
    except OSError as error:
        reason = error.strerror
    except (ValueError, RecursionError):
        reason = "it is not JSON"
    except (KeyError, TypeError, AttributeError):
        reason = "it is not what prepare-models writes"
    raise PreparationError(
        f"{path} cannot be read ({reason}); put back a copy of it, or delete it and prepare weights of your own again "
        "with --from: all others become the defaults"
    )


def text(entries: dict[str, Entry], configurations: Mapping[str, str]) -> str:
    """Gives the manifest of the networks and of the models' configurations (texts, by path in the repository)."""
    networks = {
        name: {**dataclasses.asdict(entry), "weights_sha256": entry.weights_sha256} for name, entry in entries.items()
    }
    hashes = {file: hashlib.sha256(content.encode()).hexdigest() for file, content in configurations.items()}
    return json.dumps({"networks": networks, "configurations": hashes}, indent=2) + "\n"
