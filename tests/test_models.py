import gc
import sys
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from amt.decoding.engine import Engine
from amt.decoding.request import DecodeRequest
from amt.errors import ModelUnavailableError
from amt.gpt2.device import find_device, find_devices, find_dtype
from models import SIZES, ModelStore
from server import SIZES as SIZES_OF_SETTINGS
from tests.conftest import GOLDEN

NOWHERE = "stanford-crfm/no-such-model"


def store(**checkpoints: str | Path) -> ModelStore:
    sources = {"tiny": GOLDEN / "model", "small": NOWHERE, **checkpoints}
    return ModelStore({size: str(source) for size, source in sources.items()}, device="cpu")


def test_a_model_is_loaded_once() -> None:
    models = store()
    first = models.get("tiny")
    assert models.get("tiny") is first


def test_the_description_tells_what_is_loaded_and_what_is_known_without_loading() -> None:
    models = store(mine=GOLDEN / "model")
    n_parameters = models.get("tiny").config.n_parameters
    models.survey()
    said = models.describe()
    assert said.pop("small") == {
        "checkpoint": NOWHERE,
        "loaded": False,
        "available": False,
        "parameters": None,
        "controls": None,
        "bytes": None,
    }
    known = {"checkpoint": str(GOLDEN / "model"), "available": True, "parameters": n_parameters, "controls": True}
    assert said == {
        "tiny": {**known, "loaded": True, "bytes": models.get("tiny").weight_bytes},
        "mine": {**known, "loaded": False, "bytes": None},
    }
    assert n_parameters < models.get("tiny").weight_bytes < 8 * n_parameters


def test_what_is_loaded_can_be_asked_for_while_more_is_loaded() -> None:
    models = store(**{str(number): GOLDEN / "model" for number in range(20)})
    interval = sys.getswitchinterval()
    with ThreadPoolExecutor(1) as threads:
        sys.setswitchinterval(1e-6)  # the threads take turns as often as they can
        try:
            loading = threads.submit(lambda: [models.get(str(number)) for number in range(20)])
            while not loading.done():
                assert len(models.loaded) <= 20
        finally:
            sys.setswitchinterval(interval)
    assert list(models.loaded.values()) == loading.result()


def test_what_has_been_unloaded_is_loaded_again_when_it_is_asked_for() -> None:
    models = store()
    first = models.get("tiny")
    models.unload("tiny")
    assert not models.loaded
    assert models.get("tiny") is not first


def test_nothing_holds_a_model_that_has_been_used_and_unloaded() -> None:
    models = store()
    engine = Engine(models.get("tiny"), max_rows=2)
    engine.add(DecodeRequest(end_ticks=100))
    while not engine.is_idle:
        engine.step()
    held = weakref.ref(engine.model)
    gc.disable()
    try:
        del engine
        models.unload("tiny")
        assert held() is None
    finally:
        gc.enable()


def test_finding_a_model_loads_nothing_and_refuses_what_cannot_be_loaded(tmp_path: Path) -> None:
    models = store(broken=tmp_path)
    models.find("tiny")
    assert not models.loaded
    for name in ("small", "broken"):
        with pytest.raises(ModelUnavailableError, match=f"model {name} cannot be loaded from"):
            models.find(name)
    with pytest.raises(ModelUnavailableError, match="or name another source in --model broken=SOURCE"):
        models.get("broken")


def test_the_models_with_settings_of_their_own_are_those_that_settings_know() -> None:
    assert SIZES == SIZES_OF_SETTINGS


def test_the_error_for_an_unreachable_hub_says_what_to_do() -> None:
    with pytest.raises(ModelUnavailableError) as caught:
        store().get("small")
    message = str(caught.value)
    assert NOWHERE in message
    assert "the model hub cannot be reached" in message
    assert "use model_size tiny, or set ANTICIPATORY_MODEL_SMALL to a folder" in message


def test_a_missing_folder_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailableError, match="there is no folder"):
        store(small=tmp_path / "missing").get("small")


def test_loading_can_succeed_after_it_has_failed(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    models = store(small=folder)
    with pytest.raises(ModelUnavailableError):
        models.get("small")
    folder.symlink_to(GOLDEN / "model")
    assert models.get("small").config.n_embd == 32


def test_auto_is_small_if_that_can_be_loaded() -> None:
    assert store(small=GOLDEN / "model").load_default("auto") == "small"


def test_auto_falls_back_to_tiny_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    assert store().load_default("auto") == "tiny"
    assert "requests that name no model_size get tiny" in caplog.text


def test_a_default_size_given_by_name_stays_if_it_cannot_be_loaded() -> None:
    assert store().load_default("small") == "small"


def test_a_damaged_checkpoint_is_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "config.json").symlink_to(GOLDEN / "model" / "config.json")
    (tmp_path / "model.safetensors").write_bytes(b"\0" * 64)
    with pytest.raises(ModelUnavailableError, match=r"model\.safetensors cannot be read"):
        store(small=tmp_path).get("small")


def test_auto_precision_is_int8_on_a_cpu() -> None:
    cpu = torch.device("cpu")
    assert find_dtype("auto", cpu) is torch.int8
    assert find_dtype("float32", cpu) is torch.float32


@pytest.mark.parametrize("name", ["int8", "int4"])
def test_whole_numbers_are_refused_on_other_devices(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is not available on meta here: use auto, float32, bfloat16 or float"):
        find_dtype(name, torch.device("meta"))


@pytest.mark.parametrize("name", ["cuda:99", "nonsense"])
def test_an_unknown_device_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"device {name} is not available here"):
        find_device(name)


def test_several_devices_are_named_or_counted() -> None:
    assert [each.type for each in find_devices("cpu")] == ["cpu"]
    assert [str(each) for each in find_devices("cpu,meta")] == ["cpu", "meta"]
    assert find_devices("1") == find_devices("auto")[:1]


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        ("cuda:98,cuda:99", "device cuda:98 is not available here"),
        ("99", "99 devices are not available here: there are"),
        ("0", "0 devices are not available here"),
        ("cpu,cpu", "cpu,cpu names a device twice"),
        ("", "device  is not available here"),
    ],
)
def test_devices_that_are_not_there_are_refused(wanted: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        find_devices(wanted)


def test_processes_that_share_a_cpu_share_its_memory_and_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(8)
    try:
        alone = ModelStore({}, "cpu").free_bytes
        assert torch.get_num_threads() == 8
        assert ModelStore({}, "cpu", n_sharing=3).free_bytes < alone / 2
        assert torch.get_num_threads() == 2
        monkeypatch.setenv("OMP_NUM_THREADS", "5")
        ModelStore({}, "cpu", n_sharing=2)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.gpu
def test_the_memory_of_a_gpu_is_given_back() -> None:
    models = ModelStore({"tiny": "weights/tiny"}, "cuda")
    models.get("tiny")
    models.unload("tiny")
    reserved = torch.cuda.memory_reserved()
    n_bytes = models.get("tiny").weight_bytes
    assert torch.cuda.memory_reserved() > reserved + n_bytes / 2
    models.unload("tiny")
    assert torch.cuda.memory_reserved() < reserved + n_bytes / 10
