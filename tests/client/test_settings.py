from dataclasses import fields

import pytest

from client.settings import Settings, SettingsError


def test_an_empty_environment_gives_the_defaults():
    assert Settings.from_env({}) == Settings()


def test_a_number_with_its_unit_is_read():
    assert Settings.from_env({"FACE_DEADLINE_SECONDS": "4.5"}).deadline_seconds == 4.5


def test_an_empty_value_is_as_none():
    assert Settings.from_env({"FACE_PORT": ""}).port == 8080


def test_an_unknown_key_is_named():
    with pytest.raises(SettingsError, match=r"FACE_DEADLIN_SECONDS is not a setting.*FACE_CORES"):
        Settings.from_env({"FACE_DEADLIN_SECONDS": "1"})


def test_a_key_read_elsewhere_is_let_through():
    assert Settings.from_env({"FACE_CORES": "2"}) == Settings()


def test_keys_of_others_are_not_ours():
    assert Settings.from_env({"PATH": "/bin", "GRANIAN_PORT": "1"}) == Settings()


def test_the_uai_configuration_keeps_its_own_name():
    assert str(Settings.from_env({"UAI_SERVICE_CONFIG": "a.conf"}).uai_service_config) == "a.conf"
    with pytest.raises(SettingsError, match="FACE_UAI_SERVICE_CONFIG is not a setting"):
        Settings.from_env({"FACE_UAI_SERVICE_CONFIG": "a.conf"})


def test_the_collector_of_traces_keeps_its_standard_name():
    endpoint = "https://collector.example:4318/otlp"
    assert Settings.from_env({"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}).otlp_endpoint == endpoint
    with pytest.raises(SettingsError, match="FACE_OTLP_ENDPOINT is not a setting"):
        Settings.from_env({"FACE_OTLP_ENDPOINT": endpoint})


@pytest.mark.parametrize("endpoint", ["localhost:4318", "http://", "grpc://collector:4317", "http://a b:4318"])
def test_a_collector_that_is_no_http_address_is_refused(endpoint):
    with pytest.raises(SettingsError, match="OTEL_EXPORTER_OTLP_ENDPOINT"):
        Settings.from_env({"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint})


@pytest.mark.parametrize("text", ["x", "1.5", "0x10", "1e3"])
def test_what_is_no_whole_number_is_refused(text):
    with pytest.raises(SettingsError, match=r"FACE_PORT=.*is not a whole number"):
        Settings.from_env({"FACE_PORT": text})


@pytest.mark.parametrize("field", [f for f in fields(Settings) if f.metadata], ids=lambda f: f.name)
def test_every_number_has_bounds_that_hold(field):
    key, low, high = f"FACE_{field.name.upper()}", field.metadata["low"], field.metadata["high"]
    others = {"FACE_MAX_IMAGE_BYTES": "1024"} if field.name == "max_body_bytes" else {}
    for value in (low, high):
        assert getattr(Settings.from_env({**others, key: str(value)}), field.name) == value
    for value in (low - 1, high + 1):
        with pytest.raises(SettingsError, match=key):
            Settings.from_env({**others, key: str(value)})


@pytest.mark.parametrize("cores", ["0", "-1", "1.5", "all"])
def test_fewer_cores_than_one_are_refused(cores):
    with pytest.raises(SettingsError, match="FACE_CORES"):
        Settings.from_env({"FACE_CORES": cores})


@pytest.mark.parametrize("text", ["true", "1", "Yes", "maybe"])
def test_a_gpu_is_demanded_with_yes_or_no_and_nothing_else(text):
    with pytest.raises(SettingsError, match=f"FACE_GPU='{text}' is not yes or no"):
        Settings.from_env({"FACE_GPU": text})
    for accepted in ("yes", "no", ""):
        assert Settings.from_env({"FACE_GPU": accepted}) == Settings()


def test_nan_is_no_limit():
    with pytest.raises(SettingsError, match="FACE_DEADLINE_SECONDS"):
        Settings.from_env({"FACE_DEADLINE_SECONDS": "nan"})


def test_every_number_is_bounded():
    assert all(f.metadata for f in fields(Settings) if f.type in (int, float))


def test_an_image_may_not_be_larger_than_a_body():
    with pytest.raises(SettingsError, match="FACE_MAX_IMAGE_BYTES"):
        Settings.from_env({"FACE_MAX_BODY_BYTES": "2048"})


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1"])
def test_loopback_needs_no_keys(host):
    assert Settings.from_env({"FACE_HOST": host}).host == host


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_beyond_loopback_keys_are_demanded(host):
    with pytest.raises(SettingsError, match="FACE_API_KEYS_FILE"):
        Settings.from_env({"FACE_HOST": host})
    assert Settings.from_env({"FACE_HOST": host, "FACE_API_KEYS_FILE": "keys"}).host == host


def test_a_host_name_is_refused():
    with pytest.raises(SettingsError, match="FACE_HOST='localhost' is not an IP address"):
        Settings.from_env({"FACE_HOST": "localhost"})


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8001", "triton:8001", "dns:///triton:8001", "a:1, b:2", "[::1]:8001", "triton.svc.:8001"]
)
def test_triton_addresses(url):
    assert Settings.from_env({"FACE_TRITON_URL": url}).triton_url == url


@pytest.mark.parametrize(
    "url",
    ["triton", "http://triton:8001", "a:1,", ":8001", "a:x", "a..svc:8001", f"{64 * 'a'}:8001", "a:0", "a:65536"],
)
def test_what_is_no_triton_address_is_refused(url):
    with pytest.raises(SettingsError, match="FACE_TRITON_URL"):
        Settings.from_env({"FACE_TRITON_URL": url})


def test_beyond_loopback_without_keys_only_when_said_so():
    assert Settings.from_env({"FACE_HOST": "0.0.0.0", "FACE_WITHOUT_KEYS": "yes"}).without_keys
    with pytest.raises(SettingsError, match="FACE_API_KEYS_FILE"):
        Settings.from_env({"FACE_HOST": "0.0.0.0", "FACE_WITHOUT_KEYS": "no"})
    with pytest.raises(SettingsError, match="FACE_WITHOUT_KEYS='1' is not yes or no"):
        Settings.from_env({"FACE_HOST": "0.0.0.0", "FACE_WITHOUT_KEYS": "1"})
