import json
from importlib.metadata import version

import jax

from jaxcnn.bench import Timing, record, write
from jaxcnn.ops import tuned


def test_a_result_holds_the_samples_the_device_and_the_versions(tmp_path):
    result = record("name", {"a": Timing(0.5, (1.0, 2.0)), "b": Timing(0.0, (3.0,))}, batch=4)
    assert result["benchmark"] == "name"
    assert result["device"] == {"platform": "cpu", "kind": jax.devices()[0].device_kind}
    assert result["versions"]["jax"] == version("jax")
    assert result["settings"] == {"batch": 4}
    assert result["seconds"] == {"a": [1.0, 2.0], "b": [3.0]}
    write(tmp_path / "result.json", result)
    assert json.loads((tmp_path / "result.json").read_text()) == result


def test_a_result_says_whether_there_was_a_table_to_follow(monkeypatch, tmp_path):
    monkeypatch.setattr("jaxcnn.ops.tuned.user_cache_path", lambda name: tmp_path / name)
    assert record("name", {})["tuned"] is False
    tuned.write(jax.devices()[0], {})
    assert record("name", {})["tuned"] is True


def test_what_is_not_installed_has_no_version_and_no_settings_are_none(monkeypatch):
    monkeypatch.setattr("jaxcnn.bench.result.version", lambda name: {"jax": "1.2"}[name], raising=True)
    monkeypatch.setattr("jaxcnn.bench.result.PackageNotFoundError", KeyError)
    result = record("name", {})
    assert result["versions"] == {"jax": "1.2"}
    assert "settings" not in result
