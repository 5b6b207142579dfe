import asyncio
import time

from client import replicas
from client.settings import Settings
from client.thresholds import THRESHOLDS
from client.triton import Triton
from client.v1.models import models


def ask(fake):
    async def main():
        triton = Triton(fake.url)
        await triton.start()
        try:
            return await models(triton, Settings(max_images=7), time.monotonic() + 5)
        finally:
            await triton.close()

    return asyncio.run(main())


def test_a_model_has_the_identity_and_the_threshold_of_its_weights(fake, monkeypatch):
    monkeypatch.setitem(THRESHOLDS, "arcface-fake", 1.25)
    told = ask(fake)
    facenet, arcface = told.models
    assert (facenet.name, facenet.embedding_id, facenet.distance_threshold) == ("facenet", "facenet-fake", None)
    assert (arcface.name, arcface.embedding_id, arcface.distance_threshold) == ("arcface", "arcface-fake", 1.25)
    assert facenet.dimension is None  # the fake's configuration leaves it open
    assert told.limits.max_images == 7


def test_a_network_that_fails_hides_neither_its_identity_nor_the_others(fake, monkeypatch):
    monkeypatch.setattr(replicas, "CANARY_EVERY_SECONDS", 0.1)

    async def main():
        triton = Triton(fake.url)
        await triton.start()
        try:
            fake.ill.add("arcface_embed")
            end = time.monotonic() + 10
            while triton.ready():
                assert time.monotonic() < end
                await asyncio.sleep(0.05)
            return await models(triton, Settings(), time.monotonic() + 5)
        finally:
            await triton.close()

    assert [model.embedding_id for model in asyncio.run(main()).models] == ["facenet-fake", "arcface-fake"]


def test_every_measured_threshold_can_be_one():
    assert THRESHOLDS
    assert all(0 < threshold < 2 for threshold in THRESHOLDS.values())
