import pytest

from tests.client.live import LiveGateway
from tests.fakes.triton import FakeTriton


@pytest.fixture(scope="session")
def running_fake():
    with FakeTriton() as triton:
        yield triton


@pytest.fixture
def fake(running_fake):
    """A Triton whose calls and scripts begin anew, and leave nothing to whoever comes next."""
    running_fake.reset()
    yield running_fake
    running_fake.reset()


@pytest.fixture(scope="session")
def running_gateway(running_fake):
    with LiveGateway(running_fake.url) as gateway:
        yield gateway


@pytest.fixture
def gateway(running_gateway, fake):
    """A gateway with the default settings before the fake Triton."""
    return running_gateway
