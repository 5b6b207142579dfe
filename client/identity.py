"""Which weights and preprocessing a running Triton embeds with, from a network's configuration."""

from dataclasses import dataclass

from tritonclient.grpc.aio import InferenceServerClient

from .faces import Network


@dataclass(frozen=True)
class Identity:
    """What `prepare-models` wrote into a network's configuration; empty texts for a network it did not prepare.

    embedding_id: embeddings of two identities must not be compared
    dimension: how many numbers an embedding has; -1 where the configuration leaves it open
    """

    embedding_id: str
    weights_source: str
    weights_sha256: str
    preprocessing: str
    engine: str
    precision: str
    dimension: int


async def read_identity(client: InferenceServerClient, network: Network, timeout_seconds: float) -> Identity:
    """Ask one Triton; raises InferenceServerException."""
    config = (await client.get_model_config(network, client_timeout=timeout_seconds)).config
    known = {key: value.string_value for key, value in config.parameters.items()}
    return Identity(
        embedding_id=known.get("EMBEDDING_ID", ""),
        weights_source=known.get("WEIGHTS_SOURCE", ""),
        weights_sha256=known.get("WEIGHTS_SHA256", ""),
        preprocessing=known.get("PREPROCESSING", ""),
        engine=known.get("ENGINE", ""),
        precision=known.get("PRECISION", ""),
        dimension=config.output[0].dims[-1] if config.output else -1,
    )
