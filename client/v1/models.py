"""GET /v1/models: what can be asked for, and how much of it."""

from ..faces import NETWORKS
from ..settings import Settings
from ..thresholds import THRESHOLDS
from ..triton import Triton
from .answers import Limits, Model, Models


async def models(triton: Triton, settings: Settings, deadline: float) -> Models:
    """The networks with the identity that Triton gives them, and the gateway's limits."""
    identities = [await triton.identity(network, deadline) for network in NETWORKS]
    known = [
        Model(
            name=network,
            embedding_id=identity.embedding_id or None,
            dimension=identity.dimension if identity.dimension > 0 else None,
            distance_threshold=THRESHOLDS.get(identity.embedding_id),
            preprocessing=identity.preprocessing,
            engine=identity.engine,
            precision=identity.precision,
            weights_source=identity.weights_source,
            weights_sha256=identity.weights_sha256,
        )
        for network, identity in zip(NETWORKS, identities, strict=True)
    ]
    return Models(known, Limits(settings.max_images, settings.max_image_bytes, settings.max_body_bytes))
