import asyncio
import contextlib
import io
import signal
import subprocess
import sys
import threading
import time

import grpc
import numpy as np
import pytest
from PIL import Image
from tritonclient.utils import InferenceServerException

from client import canary, evidence, replicas
from client.canary import Health
from client.errors import Busy, DeadlineExceeded, ServiceError
from client.replicas import Replicas, addresses_of
from client.triton import Triton, images
from tests.client.live import PROJECT, free_port
from tests.fakes.network import Network
from tests.fakes.triton import BRITTLE, STURDY, FakeTriton, fails, held, sleeps


@pytest.fixture(autouse=True)
def quick_probes(monkeypatch):
    monkeypatch.setattr(replicas, "PROBE_EVERY_SECONDS", 0.1)
    monkeypatch.setattr(replicas, "PROBE_SECONDS", 0.3)
    monkeypatch.setattr(replicas, "RESOLVE_EVERY_SECONDS", 0.1)


@pytest.fixture
def pair():
    with FakeTriton() as first, FakeTriton() as second:
        yield first, second


def with_triton(urls, main):
    """Run main(triton) with a Triton over these addresses."""

    async def running():
        triton = Triton(urls)
        await triton.start()
        try:
            return await main(triton)
        finally:
            await triton.close()

    return asyncio.run(running())


async def embed(triton, picture=b"a", seconds=5.0):
    return await triton.infer("facenet_embed", {"IMAGE": images(picture)}, ("EMBEDDING",), time.monotonic() + seconds)


async def until(condition, seconds=5.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        await asyncio.sleep(0.01)


def both(pair):
    return ",".join(triton.url for triton in pair)


def test_calls_are_spread(pair):
    async def main(triton):
        for _ in range(10):
            await embed(triton)

    with_triton(both(pair), main)
    assert [len(triton.calls) for triton in pair] == [5, 5]


def test_requests_that_come_one_by_one_are_spread_too(pair):
    """Each asks for the identity of the weights as well."""

    async def main(triton):
        for _ in range(10):
            await embed(triton)
            await triton.identity("facenet", time.monotonic() + 5)

    with_triton(both(pair), main)
    assert [len(triton.calls) for triton in pair] == [5, 5]


def test_the_one_with_fewer_calls_in_flight_is_taken(pair):
    pair[0].script("facenet_embed", sleeps(1.0))

    async def main(triton):
        work = [asyncio.ensure_future(embed(triton)) for _ in range(2)]
        await until(lambda: all(fake.calls for fake in pair))
        await work[0 if work[0].done() else 1]
        for _ in range(6):
            await embed(triton)
        await asyncio.gather(*work)

    with_triton(both(pair), main)
    assert len(pair[0].calls) == 1


@pytest.mark.parametrize("version", [STURDY, BRITTLE])
def test_calls_to_a_replica_that_is_found_to_hang_are_repeated_on_another(pair, version):
    pair[0].version = version

    async def main(triton):
        await embed(triton)
        await embed(triton)
        network.dead = True
        await asyncio.gather(*(embed(triton, seconds=30.0) for _ in range(4)))

    with Network(pair[0].port) as network:
        with_triton(f"127.0.0.1:{network.port},{pair[1].url}", main)


@pytest.mark.parametrize("version", [STURDY, BRITTLE])
def test_calls_to_the_only_replica_wait_though_it_seems_to_hang(pair, version):
    pair[0].version = version

    async def main(triton):
        await embed(triton)
        network.dead = True
        with pytest.raises(DeadlineExceeded):
            await embed(triton, seconds=2.5)
        assert not triton.ready()

    with Network(pair[0].port) as network:
        with_triton(f"127.0.0.1:{network.port}", main)


def test_no_replica_is_busy_at_once():
    async def main(triton):
        assert not triton.ready()
        start = time.monotonic()
        with pytest.raises(Busy):
            await embed(triton)
        assert time.monotonic() - start < 0.1

    with_triton(f"127.0.0.1:{free_port()}", main)


def test_a_replica_that_comes_is_taken_and_one_that_goes_is_dropped():
    port = free_port()

    async def main(triton):
        assert not triton.ready()
        for _ in range(2):
            with FakeTriton(port):
                await until(triton.ready)
                await embed(triton)
            await until(lambda: not triton.ready())

    with_triton(f"127.0.0.1:{port}", main)


def test_a_model_that_is_not_ready_is_a_replica_that_is_not(pair):
    async def main(triton):
        pair[0].not_ready.add("arcface_embed")
        pair[1].ready = False
        await until(lambda: not triton.ready())
        pair[0].not_ready.clear()
        await until(triton.ready)

    with_triton(both(pair), main)


def test_a_call_that_one_cannot_take_is_repeated_on_the_other(pair):
    pair[0].script("facenet_embed", fails(grpc.StatusCode.UNAVAILABLE, "Exceeds maximum queue size"))

    async def main(triton):
        for _ in range(4):
            await embed(triton)

    with_triton(both(pair), main)
    assert len(pair[0].calls) == 2
    assert len(pair[1].calls) == 4


@pytest.mark.parametrize("status", [grpc.StatusCode.INTERNAL, grpc.StatusCode.INVALID_ARGUMENT])
def test_what_may_be_the_pictures_fault_is_not_repeated(pair, status):
    for triton in pair:
        triton.script("facenet_embed", fails(status, "Stub process is not healthy"))

    async def main(triton):
        with pytest.raises(ServiceError):
            await embed(triton)

    with_triton(both(pair), main)
    assert sum(len(triton.calls) for triton in pair) == 1


def test_repeated_calls_have_a_budget(pair):
    for triton in pair:
        triton.script("facenet_embed", fails(grpc.StatusCode.UNAVAILABLE, "Exceeds maximum queue size"))

    async def main(triton):
        for _ in range(100):
            with pytest.raises(Busy):
                await embed(triton)

    with_triton(both(pair), main)
    assert 110 <= sum(len(triton.calls) for triton in pair) <= 116  # a tenth, and a burst of five


def test_a_single_replica_is_asked_once(fake):
    fake.script("facenet_embed", fails(grpc.StatusCode.UNAVAILABLE, "Exceeds maximum queue size"))

    async def main(triton):
        with pytest.raises(Busy):
            await embed(triton)

    with_triton(fake.url, main)
    assert len(fake.calls) == 1


SERVER = """
import sys, time
from tests.fakes.triton import FakeTriton
with FakeTriton(int(sys.argv[1])):
    print("up", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def other_process():
    """A fake Triton in a process of its own, to be killed or stopped."""
    port = free_port()
    command = [sys.executable, "-c", SERVER, str(port)]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process, f"127.0.0.1:{port}"
        process.kill()


def test_a_killed_replica_costs_no_answer(fake, other_process):
    process, url = other_process

    async def main(triton):
        for _ in range(4):
            await embed(triton)
        process.kill()
        process.wait()
        for _ in range(50):
            await embed(triton)
            await asyncio.sleep(0.01)

    with_triton(f"{fake.url},{url}", main)


def test_a_hung_replica_costs_its_calls_and_is_dropped_and_taken_back(fake, other_process):
    process, url = other_process

    async def main(triton):
        process.send_signal(signal.SIGSTOP)
        lost = 0
        end = time.monotonic() + 2.0
        while time.monotonic() < end:
            try:
                await embed(triton, seconds=0.5)
            except ServiceError:
                lost += 1
        assert 0 < lost <= 2
        calls = len(fake.calls)
        for _ in range(20):
            await embed(triton, seconds=0.5)
        assert len(fake.calls) == calls + 20
        process.send_signal(signal.SIGCONT)
        await until(lambda: all(replica.well for replica in triton._replicas._replicas.values()))

    with_triton(f"{fake.url},{url}", main)


def test_a_name_stands_for_its_addresses_as_they_come_and_go(pair):
    found = [pair[0].url]

    async def main():
        watched = Replicas("triton:8001", lambda url: list(found))
        await watched.start()
        assert watched.pick("facenet_embed").address == pair[0].url
        found[:] = [pair[1].url]
        await until(
            lambda: watched.pick("facenet_embed") is not None and watched.pick("facenet_embed").address == pair[1].url
        )
        found.clear()
        await until(lambda: watched.pick("facenet_embed") is None)
        await watched.close()

    asyncio.run(main())


def test_a_name_that_no_longer_resolves_changes_nothing(fake):
    broken = False

    def resolve(url):
        if broken:
            raise OSError("no such name")
        return [fake.url]

    async def main():
        nonlocal broken
        watched = Replicas("triton:8001", resolve)
        await watched.start()
        broken = True
        await asyncio.sleep(0.3)
        assert watched.ready()
        await watched.close()

    asyncio.run(main())


def test_a_name_that_does_not_resolve_keeps_no_other_out(fake):
    def resolve(url):
        if url == "away:8001":
            raise OSError("no such name")
        return [fake.url]

    async def main():
        watched = Replicas("away:8001,here:8001", resolve)
        await watched.start()
        assert watched.ready()
        await watched.close()

    asyncio.run(main())


def test_a_replica_whose_address_goes_still_answers(fake, monkeypatch):
    found = [fake.url]
    monkeypatch.setattr(replicas, "addresses_of", lambda url: list(found))
    fake.script("facenet_embed", sleeps(1.0))

    async def main(triton):
        work = asyncio.ensure_future(embed(triton))
        await until(lambda: fake.calls)
        found.clear()
        await until(lambda: not triton.ready())
        assert (await work)["EMBEDDING"].shape == (1, 512)

    with_triton("triton:8001", main)


def test_a_call_that_nobody_waits_for_is_not_cut_off_when_the_address_goes(fake, monkeypatch):
    found, release = [fake.url], threading.Event()
    monkeypatch.setattr(replicas, "addresses_of", lambda url: list(found))
    fake.version = BRITTLE
    fake.script("facenet_embed", held(release))

    async def main(triton):
        with pytest.raises(DeadlineExceeded):
            await embed(triton, seconds=0.5)
        (replica,) = triton._replicas._replicas.values()
        found.clear()
        await until(lambda: not triton.ready())
        await asyncio.sleep(0.5)
        assert replica.client.left == 1
        release.set()
        await until(lambda: not triton._replicas._leaving)

    with_triton("triton:8001", main)
    assert not fake.calls[-1].cancelled


OTHER = {"EMBEDDING": np.full((1, 512), 0.5, np.float32)}


def test_other_weights_count_as_wrong_until_nobody_is_left_who_has_the_first(pair, quick_questions):
    found = [pair[0].url]
    pair[1].asked["facenet_embed"] = OTHER

    async def main():
        watched = Replicas("triton:8001", lambda url: list(found))
        await watched.start()
        found.append(pair[1].url)
        await until(lambda: len(watched._replicas) == 2)
        await asyncio.gather(*(replica.probed.wait() for replica in watched._replicas.values()))
        assert [replica.well for replica in watched._replicas.values()] == [True, False]
        assert watched.pick("facenet_embed").address == pair[0].url
        found.remove(pair[0].url)
        await until(lambda: watched.ready() and watched.pick("facenet_embed").address == pair[1].url)
        await watched.close()

    asyncio.run(main())


def test_a_triton_that_comes_is_asked_its_questions_before_any_caller_is_sent_to_it(pair, patient):
    found = [pair[0].url]
    pair[1].asked["facenet_embed"] = OTHER
    pair[1].queue["facenet_embed"] = 0.2

    async def main():
        watched = Replicas("triton:8001", lambda url: list(found))
        await watched.start()
        found.append(pair[1].url)
        await until(lambda: len(watched._replicas) == 2)
        other = watched._replicas[pair[1].url]
        while not other.probed.is_set():
            assert not other.can("facenet_embed")
            await asyncio.sleep(0.01)
        assert other.up
        assert not other.well
        await watched.close()

    asyncio.run(main())


def test_a_look_that_fails_in_an_unknown_way_is_not_the_last(fake, monkeypatch):
    async def main(triton):
        (replica,) = triton._replicas._replicas.values()
        with monkeypatch.context() as patch:
            patch.setattr(replica.client, "is_server_ready", None)  # TypeError
            await until(lambda: not triton.ready())
        await until(triton.ready)

    with_triton(fake.url, main)


def test_questions_that_are_all_left_unanswered_count_as_a_probe(fake, quick_questions):
    probes = 0

    async def silent(**arguments):
        nonlocal probes
        probes += 1
        raise InferenceServerException("no answer", status=str(grpc.StatusCode.DEADLINE_EXCEEDED))

    async def main(triton):
        (replica,) = triton._replicas._replicas.values()

        async def stops(client, seconds):
            replica.client.is_server_ready = silent
            return dict.fromkeys(canary.QUESTIONS, Health.SILENT)

        replica._canary.ask = stops
        await until(lambda: not replica.up)
        assert probes == 1

    with_triton(fake.url, main)


def test_a_triton_with_other_weights_is_taken_after_its_restart(fake, quick_questions):
    async def main(triton):
        fake.ready = False
        await until(lambda: not triton.ready())
        fake.asked["facenet_embed"] = OTHER
        fake.ready = True
        await until(triton.ready)

    with_triton(fake.url, main)


@pytest.mark.parametrize("answer", [OTHER, {}], ids=["another", "none"])
def test_a_model_that_begins_to_answer_wrongly_is_not_believed(answer, fake, quick_questions):
    async def main(triton):
        fake.asked["facenet_embed"] = answer
        await until(lambda: not triton.ready())
        await asyncio.sleep(0.5)
        assert not triton.ready()
        fake.asked.clear()
        await until(triton.ready)

    with_triton(fake.url, main)


def test_addresses_of_a_host():
    assert addresses_of("127.0.0.1:8001") == ["127.0.0.1:8001"]
    assert addresses_of("[::1]:8001") == ["[::1]:8001"]
    with contextlib.suppress(OSError):
        assert "127.0.0.1:8001" in addresses_of("localhost:8001")


def test_a_model_that_calls_itself_ready_but_gives_no_answer_is_a_replica_that_is_not(pair):
    async def main(triton):
        pair[0].ill.add("face_crops")
        pair[1].ready = False
        await until(lambda: not triton.ready())
        await embed(triton)  # it needs another process than the one that is ill
        pair[0].ill.clear()
        await until(triton.ready)

    with_triton(both(pair), main)


@pytest.fixture
def quick_questions(monkeypatch):
    monkeypatch.setattr(replicas, "CANARY_EVERY_SECONDS", 0.1)
    monkeypatch.setattr(replicas, "CANARY_SECONDS", 0.3)
    for module in (canary, evidence):
        monkeypatch.setattr(module, "LONGEST_ANSWER_SECONDS", 2.0)


def detect(triton, seconds=10):
    return triton.infer("face_detect", {"IMAGE": images(b"x")[0]}, ("BOXES",), time.monotonic() + seconds)


@pytest.fixture
def patient(quick_questions, monkeypatch):
    """A machine that stalls for a second is no reason to take what works for dead."""
    monkeypatch.setattr(replicas, "PROBE_SECONDS", 3.0)
    monkeypatch.setattr(replicas, "COUNT_SECONDS", 3.0)
    monkeypatch.setattr(replicas, "CANARY_SECONDS", 1.0)
    for module in (canary, evidence):
        monkeypatch.setattr(module, "LONGEST_ANSWER_SECONDS", 4.0)


def test_a_detector_at_work_on_a_large_photo_is_not_taken_for_dead(fake, patient):
    async def main(triton):
        fake.script("face_detect", sleeps(1.2))
        asked = asyncio.ensure_future(detect(triton))
        await asyncio.sleep(0.1)
        fake.silent.add("face_detect")
        while not asked.done():
            assert triton.ready()
            await asyncio.sleep(0.05)
        assert len((await asked)["BOXES"]) == 1

    with_triton(fake.url, main)


def test_a_detector_that_needs_every_callers_whole_time_is_not_taken_for_dead(fake, patient):
    """It answers none of them; the question keeps its place among them and is answered in its turn."""

    async def main(triton):
        fake.script("face_detect", sleeps(30))
        fake.queue["face_detect"] = 1.2  # until those before the question have had their time
        end = time.monotonic() + 8
        while time.monotonic() < end:
            asked = [asyncio.ensure_future(detect(triton, 1.0)) for _ in range(3)]
            while not all(one.done() for one in asked):
                assert triton.ready()
                await asyncio.sleep(0.05)
            await asyncio.gather(*asked, return_exceptions=True)

    with_triton(fake.url, main)


@pytest.mark.parametrize("model", sorted(canary.QUESTIONS))
def test_a_model_that_answers_callers_past_the_gateway_is_not_taken_for_dead(fake, patient, model):
    async def main(triton):
        fake.silent.add(model)
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            fake.answered[model] += 1
            assert triton.ready()
            await asyncio.sleep(0.05)

    with_triton(fake.url, main)


def test_a_slow_model_that_answers_others_now_and_then_is_not_taken_for_dead(fake, patient):
    async def main(triton):
        fake.answered["arcface_photo"] += 1
        await asyncio.sleep(0.5)
        fake.silent.add("arcface_embed")
        await asyncio.sleep(1.0)
        assert triton.ready()
        await until(lambda: not triton.ready(), seconds=8.0)  # nor is it believed for ever

    with_triton(fake.url, main)


def test_a_network_that_embeds_the_faces_of_a_large_group_is_not_taken_for_dead(fake, patient):
    async def main(triton):
        fake.script("arcface_photo", sleeps(1.5))
        photo = {"IMAGE": images(b"x")[0]}
        asked = asyncio.ensure_future(triton.infer("arcface_photo", photo, ("EMBEDDING",), time.monotonic() + 5))
        await asyncio.sleep(0.1)
        fake.silent.add("arcface_embed")
        while not asked.done():
            assert triton.ready()
            await asyncio.sleep(0.05)
        await asked

    with_triton(fake.url, main)


@pytest.mark.parametrize("leaves", [False, True], ids=["photos that are answered", "one that never is"])
def test_photos_do_not_hide_for_ever_that_their_network_gives_no_answer(fake, quick_questions, leaves):
    """A photo passes by the preprocessing of crops, and its caller may have gone long ago."""

    async def main(triton):
        if leaves:
            fake.script("facenet_photo", sleeps(30))
            photo = {"IMAGE": images(b"x")[0]}
            with pytest.raises(DeadlineExceeded):
                await triton.infer("facenet_photo", photo, ("EMBEDDING",), time.monotonic() + 0.2)
        fake.silent.add("facenet_embed")
        end = time.monotonic() + 15
        while triton.ready():
            assert time.monotonic() < end
            fake.answered["facenet_photo"] += not leaves
            await asyncio.sleep(0.05)
        await asyncio.sleep(1.0)
        assert not triton.ready()

    with_triton(fake.url, main)


def test_whose_silence_is_waited_for_is_told_from_a_wrong_answer(fake, quick_questions):
    async def main(triton):
        fake.silent.add("arcface_embed")
        await until(lambda: triton.waits_for() == {"arcface_embed": {"arcface_preprocess", "arcface"}})
        fake.asked["facenet_embed"] = OTHER
        await until(lambda: triton.waits_for() == {})
        assert not triton.ready()

    with_triton(fake.url, main)


def test_a_triton_that_comes_up_again_has_not_answered_wrongly(fake, quick_questions):
    async def main(triton):
        fake.ill.add("arcface_embed")
        await until(lambda: not triton.ready() and not triton.waits_for())
        fake.ready = False
        await until(lambda: not triton.live())
        fake.ill.clear()
        fake.silent.add("arcface_embed")
        fake.ready = True
        await until(lambda: "arcface_embed" in triton.waits_for())

    with_triton(fake.url, main)


def test_questions_that_are_answered_one_by_one_make_a_triton_known(fake, quick_questions):
    """Each model answers now and then, and never all in one look."""
    slow = sorted(canary.QUESTIONS)[:3]
    fake.silent.update(slow)

    async def main(triton):
        for model in slow:
            assert not triton.ready()
            fake.silent.discard(model)
            await until(lambda model=model: model not in triton.waits_for(), seconds=8.0)
            fake.silent.update(set(slow) - {model})
        (replica,) = triton._replicas._replicas.values()
        await until(lambda: replica.known, seconds=8.0)

    with_triton(fake.url, main)


def test_an_answer_that_comes_between_two_looks_counts(fake, quick_questions, monkeypatch):
    """The model takes every question longer than it is waited for."""
    monkeypatch.setattr(replicas, "CANARY_SECONDS", 0.1)
    fake.queue["face_detect"] = 0.15

    async def main(triton):
        await until(triton.ready)

    with_triton(fake.url, main)


def test_a_wrong_answer_is_not_forgotten_while_the_next_is_awaited(fake, quick_questions):
    async def main(triton):
        fake.asked["facenet_embed"] = OTHER
        await until(lambda: not triton.ready())
        fake.silent.add("facenet_embed")
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            fake.answered["facenet_embed"] += 1
            assert not triton.ready()
            await asyncio.sleep(0.05)

    with_triton(fake.url, main)


@pytest.mark.parametrize("looks", [0, 3], ids=["at the first look", "later"])
def test_a_question_that_is_counted_late_excuses_no_model(fake, quick_questions, looks):
    async def main(triton):
        await asyncio.sleep(looks * 0.15)
        fake.silent.add("face_detect")
        begun = time.monotonic()
        await until(lambda: not triton.ready())
        assert time.monotonic() - begun < 1.5  # and not only when the question's time is over

    fake.counts_after = 0.05
    with_triton(fake.url, main)


def test_the_real_triton_counts_the_answers_to_others(server):
    face = io.BytesIO()
    Image.linear_gradient("L").save(face, "PNG")

    async def main(triton):
        (replica,) = triton._replicas._replicas.values()
        assert "facenet_compare" not in replica._evidence._at_work
        pair = {"IMAGE": images(face.getvalue(), face.getvalue())}
        await triton.infer("facenet_compare", pair, ("DISTANCE",), time.monotonic() + 5)
        end = time.monotonic() + 5
        while "facenet_compare" not in replica._evidence._at_work:  # it counts an answer after it has sent it
            assert time.monotonic() < end
            await replica._count(2.0)

    with_triton(server.grpc, main)


@pytest.mark.parametrize("waiting", [False, True], ids=["idle", "with-callers-who-wait"])
def test_a_detector_that_hangs_is_noticed(fake, quick_questions, waiting):
    async def main(triton):
        fake.script("face_detect", sleeps(30))
        fake.silent.add("face_detect")
        asked = [asyncio.ensure_future(detect(triton)) for _ in range(3 * waiting)]
        begun = time.monotonic()
        await until(lambda: not triton.ready())
        assert time.monotonic() - begun < 4
        for one in asked:
            one.cancel()

    with_triton(fake.url, main)


def test_a_bad_picture_proves_that_its_model_is_alive(fake, quick_questions):
    async def main(triton):
        fake.script("facenet_embed", fails(grpc.StatusCode.INVALID_ARGUMENT, "image_format: not a picture"))
        fake.silent.add("facenet_embed")
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            with pytest.raises(ServiceError):
                await triton.infer("facenet_embed", {"IMAGE": images(b"x")}, ("EMBEDDING",), time.monotonic() + 1)
            assert triton.ready()
            await asyncio.sleep(0.02)

    with_triton(fake.url, main)
