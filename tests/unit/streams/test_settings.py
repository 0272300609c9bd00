"""Settings are read once, checked together, and never show a secret."""

from __future__ import annotations

import ssl
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from streams.failures import RetryPolicy
from streams.settings import Settings, SettingsError


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"SLUICE_{name.upper()}", raising=False)


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    """A PEM file with a certificate authority."""
    target = tmp_path / "ca.pem"
    certificates = ssl.create_default_context().get_ca_certs(binary_form=True)
    target.write_text(ssl.DER_cert_to_PEM_cert(certificates[0]), encoding="ascii")
    return target


def test_the_defaults_are_the_local_stack_on_loopback() -> None:
    settings = Settings.read()
    assert settings.bootstrap_servers == "127.0.0.1:9092"
    assert settings.web_host == settings.advertised_host == "127.0.0.1"
    assert settings.partitions == 4
    assert settings.dedupe_max_age == timedelta(hours=1)
    assert settings.retry_policy() == RetryPolicy.default()
    assert settings.aiokafka_security() == {"security_protocol": "PLAINTEXT"}
    assert settings.librdkafka_config() == {
        "bootstrap.servers": "127.0.0.1:9092",
        "security.protocol": "PLAINTEXT",
    }
    assert settings.faust_credentials() is None


def test_variables_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICE_PARTITIONS", "12")
    monkeypatch.setenv("SLUICE_STORE", "rocksdict")
    monkeypatch.setenv("SLUICE_RETRY", "events")
    monkeypatch.setenv("SLUICE_GROUP_INSTANCE_ID", "worker-2")
    assert Settings.read().metrics
    monkeypatch.setenv("SLUICE_METRICS", "off")
    settings = Settings.read()
    assert not settings.metrics
    assert (settings.partitions, settings.store) == (12, "rocksdict")
    assert settings.retry_policy() == RetryPolicy.events()
    assert settings.state_dir == Path(".sluice/state/worker-2")
    assert settings.worker_name.startswith("worker-2:")


def test_every_error_is_told_at_once_with_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICE_PARTITIONS", "none")
    monkeypatch.setenv("SLUICE_STORE", "redis")
    monkeypatch.setenv("SLUICE_WEB_PORT", "70000")
    monkeypatch.setenv("SLUICE_BOOTSTRAP_SERVER", "kafka:9092")
    with pytest.raises(SettingsError) as raised:
        Settings.read()
    text = str(raised.value)
    for expected in ("SLUICE_PARTITIONS: ", "SLUICE_STORE: ", "SLUICE_WEB_PORT: "):
        assert expected in text
    assert "SLUICE_BOOTSTRAP_SERVER: there is no such setting; did you mean SLUICE_BOOTSTRAP_SERVERS?" in text


def test_settings_that_need_each_other_are_checked_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICE_SASL_MECHANISM", "PLAIN")
    monkeypatch.setenv("SLUICE_REGISTRY_USERNAME", "u")
    monkeypatch.setenv("SLUICE_KAFKA_CERT", "/nowhere.pem")
    with pytest.raises(SettingsError) as raised:
        Settings.read()
    for expected in (
        "SLUICE_SASL_MECHANISM needs",
        "SLUICE_REGISTRY_USERNAME and",
        "SLUICE_KAFKA_CERT and",
        "SLUICE_KAFKA_CERT: there is no file /nowhere.pem",
    ):
        assert expected in str(raised.value)


def test_meters_with_series_of_their_own_are_few_and_have_plain_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SLUICE_METRICS_METERS", "seats, disk.bytes,")
    assert Settings.read().metrics_meters == ("seats", "disk.bytes")
    for wrong in ("a b", 'a"', ",".join(f"m{number}" for number in range(41))):
        monkeypatch.setenv("SLUICE_METRICS_METERS", wrong)
        with pytest.raises(SettingsError, match="SLUICE_METRICS_METERS"):
            Settings.read()


def test_no_secret_is_ever_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICE_SASL_PASSWORD", "hunter2")
    with pytest.raises(SettingsError) as raised:
        Settings.read()
    assert "hunter2" not in str(raised.value)
    settings = Settings.read(
        sasl_mechanism="PLAIN",
        sasl_username="u",
        registry_username="u",
        registry_password="hunter2",
        web_token="hunter2",
    )
    assert "hunter2" not in f"{settings!r} {settings} {settings.model_dump_json()}"


def test_settings_never_change() -> None:
    settings = Settings.read()
    with pytest.raises(ValidationError):
        settings.partitions = 8  # type: ignore[misc]


def test_both_clients_and_faust_get_the_same_login_and_authority(authority: Path) -> None:
    settings = Settings.read(
        kafka_ca=authority, sasl_mechanism="SCRAM-SHA-512", sasl_username="u", sasl_password="p"
    )
    ours = settings.aiokafka_security()
    assert isinstance(ours.pop("ssl_context"), ssl.SSLContext)
    assert ours == {
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "u",
        "sasl_plain_password": "p",
    }
    theirs = settings.librdkafka_config()
    assert theirs == {
        "bootstrap.servers": "127.0.0.1:9092",
        "security.protocol": "SASL_SSL",
        "ssl.ca.location": str(authority),
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "u",
        "sasl.password": "p",
    }
    credentials = settings.faust_credentials()
    assert credentials.protocol.value == "SASL_SSL"
    assert credentials.mechanism.value == "SCRAM-SHA-512"


def test_tls_and_sasl_are_independent() -> None:
    login = {"sasl_mechanism": "PLAIN", "sasl_username": "u", "sasl_password": "p"}
    assert Settings.read(tls=True).security_protocol == "SSL"
    assert Settings.read(tls=True).faust_credentials().protocol.value == "SSL"
    assert Settings.read(**login).security_protocol == "SASL_PLAINTEXT"
    assert Settings.read(**login).faust_credentials().protocol.value == "SASL_PLAINTEXT"


def test_the_registry_gets_its_own_login_and_authority(authority: Path) -> None:
    config = Settings.read(
        registry_url="https://r:8085/ccompat",
        registry_username="u",
        registry_password="p",
        registry_ca=authority,
    ).registry_config()
    assert config["url"] == "https://r:8085/ccompat"
    assert config["basic.auth.user.info"] == "u:p"
    assert config["ssl.ca.location"] == str(authority)


def test_other_workers_reach_this_one_by_its_advertised_url() -> None:
    assert (
        Settings.read(advertised_url="http://worker-1.internal:7000").advertised_host == "worker-1.internal"
    )


def test_files_that_hold_no_certificates_are_refused_before_anything_connects(tmp_path: Path) -> None:
    rubbish = tmp_path / "rubbish.pem"
    rubbish.write_text("no certificate")
    with pytest.raises(SettingsError) as raised:
        Settings.read(kafka_ca=rubbish, registry_ca=rubbish, kafka_cert=rubbish, kafka_key=rubbish)
    text = str(raised.value)
    assert f"SLUICE_KAFKA_CA: {rubbish} holds no certificates" in text
    assert f"SLUICE_REGISTRY_CA: {rubbish} holds no certificates" in text
    assert "SLUICE_KAFKA_CERT and KAFKA_KEY: not a certificate" in text


def test_a_login_in_the_registrys_address_is_refused_because_addresses_are_shown() -> None:
    with pytest.raises(SettingsError) as raised:
        Settings.read(registry_url="https://user:hunter2@registry:8081")
    assert "SLUICE_REGISTRY_URL must hold no login" in str(raised.value)
    assert "hunter2" not in str(raised.value)
