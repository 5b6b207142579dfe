"""Which weights and preprocessing a running Triton embeds with: the EMBEDDING_ID in a network's configuration."""

from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from .errors import Busy, Internal
from .faces import Network


async def embedding_id(url: str, network: Network, timeout_seconds: float) -> str:
    """Ask the first Triton of `url`; raises Busy where it does not answer, Internal where it does not know."""
    async with InferenceServerClient(url.split(",")[0].strip()) as client:
        try:
            answer = await client.get_model_config(network, client_timeout=timeout_seconds)
        except InferenceServerException as error:
            raise Busy("triton_unavailable", "Triton does not say which weights it serves; try again") from error
    parameters = answer.config.parameters
    if "EMBEDDING_ID" not in parameters:
        raise Internal(
            "model_unprepared", f"{network} does not say which weights it serves; run scripts/prepare-models"
        )
    return str(parameters["EMBEDDING_ID"].string_value)
