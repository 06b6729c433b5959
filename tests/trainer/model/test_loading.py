"""Finding and loading the base model: its code never runs, nothing is made up, faults say whose they are."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from huggingface_hub.errors import HTTPError, LocalEntryNotFoundError
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, OPTConfig

from trainer.config.loader import BadConfig
from trainer.model import download as download_module
from trainer.model.download import PATTERNS, download
from trainer.model.loading import find_base_model, find_local_model, load_model, refuse_longer_rows
from trainer.protocol.faults import ModelUnavailable, UnusableModel
from trainer.protocol.text import display_name


@pytest.fixture
def model_folder(tiny_folder: Path, tmp_path: Path) -> Path:
    """Return a copy of a good model, to be spoiled."""
    return Path(shutil.copytree(tiny_folder, tmp_path / "model"))


def change_config(folder: Path, **fields: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def find(name: str, base_dir: Path, tell: Callable[[str], None] = lambda text: None) -> Path:
    return find_base_model(name, base_dir=base_dir, models=base_dir / "models", tell=tell)


# ---- finding


def test_tiny_is_built_among_the_models(tmp_path):
    folder = find("tiny", tmp_path)

    assert folder == tmp_path / "models" / "tiny"
    assert (folder / "model.safetensors").is_file()


@pytest.mark.parametrize("name", ["my/model", "./my/model", "one", "{base}/my/model"])
def test_a_folder_is_taken_as_it_is_and_nothing_is_fetched(tmp_path, monkeypatch, name):
    monkeypatch.setattr("trainer.model.loading.download", lambda name, tell: pytest.fail(f"downloads {name}"))
    for folder in ("my/model", "one"):
        (tmp_path / folder).mkdir(parents=True)

    found = find(name.format(base=tmp_path), tmp_path)

    assert found.samefile(tmp_path / name.format(base=tmp_path))


@pytest.mark.parametrize("name", ["./gone", "/gone/model", "~gone/model", "gone", "a/b/c", "../a"])
def test_a_path_where_nothing_is_is_unavailable_and_no_hub_name(tmp_path, monkeypatch, name):
    monkeypatch.setattr("trainer.model.loading.download", lambda name, tell: pytest.fail(f"downloads {name}"))

    with pytest.raises(ModelUnavailable) as missing:
        find(name, tmp_path)

    assert f'model.base_model is "{name}"' in str(missing.value)
    assert 'expected "tiny", the path of a model folder, or a hub name' in str(missing.value)


@pytest.mark.parametrize(
    "name, short",
    [("tiny", "tiny"), ("Qwen/Qwen3-0.6B", "Qwen3-0.6B"), ("/models/mine/", "mine"), ("/", "/")],
)
def test_people_are_shown_the_last_part_of_a_name(name, short):
    assert display_name(name) == short


# ---- downloading


def test_a_hub_name_is_downloaded_and_progress_is_told(tmp_path, monkeypatch):
    asked, told = [], []

    def fetch(name, *, allow_patterns, tqdm_class):
        asked.append((name, allow_patterns))
        with tqdm_class(desc="model.safetensors", total=200, name="hub", mininterval=0) as bar:
            bar.update(50)
            bar.update(150)
        return str(tmp_path / "cache")

    monkeypatch.setattr(download_module, "snapshot_download", fetch)

    found = find("Qwen/Qwen3-0.6B", tmp_path, told.append)

    assert found == tmp_path / "cache"
    assert asked == [("Qwen/Qwen3-0.6B", PATTERNS)]
    assert told[0] == "downloading Qwen/Qwen3-0.6B"
    assert "downloading model.safetensors: 25%" in told
    assert told[-1] == "downloading model.safetensors: 100%"


def test_weights_that_can_run_code_are_never_fetched():
    unsafe = [
        Path(name) for name in ("pytorch_model.bin", "model.pt", "model.pkl", "modeling_x.py", "m.ckpt")
    ]

    assert [path for path in unsafe if any(path.match(pattern) for pattern in PATTERNS)] == []


@pytest.mark.parametrize(
    "error, reason",
    [
        (LocalEntryNotFoundError("Got: ConnectError: no route\nmore lines"), "Got: ConnectError: no route"),
        (HTTPError("the server hung up"), "the server hung up"),
        (ValueError("Repo id must use alphanumeric chars"), "Repo id must use alphanumeric chars"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_a_download_that_fails_makes_the_model_unavailable(monkeypatch, error, reason):
    def fail(*arguments, **named):
        raise error

    monkeypatch.setattr(download_module, "snapshot_download", fail)

    with pytest.raises(ModelUnavailable) as unavailable:
        download("some/model", lambda text: None)

    assert str(unavailable.value) == (
        f'model.base_model is "some/model", which is not a folder here and cannot be downloaded: {reason}'
    )


# ---- loading


def test_a_model_loads_with_its_tokenizer_in_full_precision(tiny_folder):
    model, tokenizer = load_model(tiny_folder)

    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert tokenizer.chat_template


def test_a_model_in_half_precision_is_trained_in_full(model_folder):
    weights = model_folder / "model.safetensors"
    halved = {name: tensor.half() for name, tensor in load_file(weights).items()}
    save_file(halved, weights, metadata={"format": "pt"})
    change_config(model_folder, dtype="float16")

    model, _ = load_model(model_folder)

    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_code_that_came_with_a_model_is_refused_and_does_not_run(model_folder, tmp_path):
    proof = tmp_path / "it ran"
    code = f"from pathlib import Path\nPath({str(proof)!r}).touch()\nclass Model: pass\nclass Config: pass\n"
    (model_folder / "modeling_evil.py").write_text(code)
    change_config(
        model_folder,
        model_type="evil",
        auto_map={"AutoConfig": "modeling_evil.Config", "AutoModelForCausalLM": "modeling_evil.Model"},
    )

    with pytest.raises(UnusableModel, match="cannot be used"):
        load_model(model_folder)

    assert not proof.exists()


def test_code_that_shadows_a_known_model_does_not_run_either(model_folder, tmp_path):
    proof = tmp_path / "it ran"
    (model_folder / "modeling_evil.py").write_text(
        f"from pathlib import Path\nPath({str(proof)!r}).touch()\nclass Model: pass\n"
    )
    change_config(model_folder, auto_map={"AutoModelForCausalLM": "modeling_evil.Model"})

    load_model(model_folder)

    assert not proof.exists()


class TouchesAFile:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_weights_in_a_format_that_can_run_code_are_not_loaded(model_folder, tmp_path):
    proof = tmp_path / "it ran"
    (model_folder / "model.safetensors").unlink()
    torch.save({"model.norm.weight": TouchesAFile(proof)}, model_folder / "pytorch_model.bin")

    with pytest.raises(ModelUnavailable, match="cannot be loaded"):
        load_model(model_folder)

    assert not proof.exists()


def remove_chat_template(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()


def truncate_weights(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])


def remove_a_tensor(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def remove_tokenizer(folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()


def empty_the_folder(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


@pytest.mark.parametrize(
    "spoil, fault, message",
    [
        (remove_chat_template, UnusableModel, "has no chat template.*use an instruction-tuned variant"),
        (truncate_weights, ModelUnavailable, "cannot be loaded"),
        (remove_a_tensor, UnusableModel, r"lacks 1 of its tensors, such as model\.norm\.weight"),
        (remove_tokenizer, UnusableModel, "has no vocabulary; expected a tokenizer.json"),
        (empty_the_folder, (ModelUnavailable, UnusableModel), "cannot be"),
    ],
)
def test_a_model_that_is_not_whole_is_refused_with_its_path(model_folder, spoil, fault, message):
    spoil(model_folder)

    with pytest.raises(fault, match=message) as refused:
        load_model(model_folder)

    assert str(model_folder) in str(refused.value)


TABLES = [
    GPT2Config(vocab_size=16, n_positions=16, n_embd=8, n_layer=1, n_head=1),
    OPTConfig(
        vocab_size=18,
        max_position_embeddings=16,
        hidden_size=8,
        word_embed_proj_dim=8,
        num_hidden_layers=1,
        num_attention_heads=1,
    ),
]
COMPUTED = LlamaConfig(
    vocab_size=16, max_position_embeddings=16, hidden_size=8, num_hidden_layers=1, num_attention_heads=1
)


@pytest.mark.parametrize("config", TABLES, ids=lambda config: config.model_type)
def test_rows_longer_than_the_table_of_positions_are_the_settings_fault(config):
    model = AutoModelForCausalLM.from_config(config)

    refuse_longer_rows(model, 16)
    with pytest.raises(
        BadConfig, match=r"data\.max_length is 17, but .* for 16 tokens; set it to 16 or less"
    ):
        refuse_longer_rows(model, 17)


def test_positions_that_are_computed_do_not_limit_a_row():
    refuse_longer_rows(AutoModelForCausalLM.from_config(COMPUTED), 17)


def test_the_embedded_model_is_named_where_it_lies_although_a_link_leads_there(tmp_path):
    """What is written into an adapter must be there when the folder with the link is gone."""
    scratch = tmp_path / "scratch"
    (tmp_path / "models" / "tiny").mkdir(parents=True)
    scratch.mkdir()
    (scratch / "tiny").symlink_to(tmp_path / "models" / "tiny")

    assert find_local_model("tiny", base_dir=tmp_path, models=scratch) == tmp_path / "models" / "tiny"
