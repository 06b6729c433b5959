"""What a checkpoint depends on outside of itself must be there, and be the same."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.support import job_for, rows, write_jsonl
from tests.trainer.engine_rig import (
    PEFT_IS_BEHIND,
    current,
    loaded,
    manifest_of,
    settings_with,
    train,
    weights_sha256,
)
from trainer.checkpoints.compatibility import refuse_missing_gpu, refuse_other_base
from trainer.checkpoints.tensor_tree import load_tree
from trainer.config.lock import LockedSetting
from trainer.model import fingerprint as fingerprint_module
from trainer.model.fingerprint import fingerprint
from trainer.model.training_templates import BY_NAME, sha256_of
from trainer.protocol.faults import MissingDevice, UnusableModel
from trainer.protocol.manifest import CHECKSUM, Manifest, Progress, checksum

pytestmark = pytest.mark.filterwarnings(PEFT_IS_BEHIND)

NOT_IN_FORMAT_1 = ("locked", "unlocked", "base_sha256", "device", "settings", "settings_sha256", CHECKSUM)


def manifest(**fields):
    facts = {"base_model": "tiny", "method": "lora", "versions": {}, "sequence": 1, "parent": None}
    return Manifest(**(facts | {"written_at": "", "progress": Progress(), "files": {}} | fields))


def rewrite(base_dir: Path, content: dict) -> None:
    content = {key: value for key, value in content.items() if key != CHECKSUM}
    text = json.dumps(content | {CHECKSUM: checksum(content)})
    (current(base_dir) / "MANIFEST.json").write_text(text)


# ---- locked settings


def allow(base_dir, *changes):
    content = [
        {"setting": name, "was": was, "becomes": now, "at": "2026-01-01"} for name, was, now in changes
    ]
    (base_dir / "models" / "unlocked.json").write_text(json.dumps(content))


def test_a_locked_setting_is_refused_until_it_is_allowed_and_the_change_is_recorded_once(
    base_dir, tmp_path, seven_rows, tiny_folder
):
    train(base_dir, settings_with(tiny_folder), [(job_for(seven_rows), seven_rows)])
    changed = settings_with(tiny_folder, data={"max_length": 64})

    with pytest.raises(LockedSetting, match=r"data\.max_length is 64, but .* 2048; .*unlock data\.max"):
        loaded(base_dir, changed)
    allow(base_dir, ("data.max_length", 2048, 64))
    engine = loaded(base_dir, changed)
    for name in "bc":
        engine.run_job(write_jsonl(tmp_path / f"{name}.jsonl", rows(3)))
    (base_dir / "models" / "unlocked.json").unlink()
    loaded(base_dir, changed)  # what is recorded needs no permission any more

    content = manifest_of(base_dir)
    assert content["locked"]["data.max_length"] == 64
    assert content["unlocked"] == [
        {"setting": "data.max_length", "was": 2048, "becomes": 64, "at": "2026-01-01"}
    ]


# ---- checkpoints of the first release


@pytest.mark.parametrize("template, is_refused", [("own", False), ("chatml", True)])
def test_a_checkpoint_of_the_first_release_goes_on(
    base_dir, tmp_path, seven_rows, tiny_folder, template, is_refused
):
    train(base_dir, settings_with(tiny_folder), [(job_for(seven_rows), seven_rows)])
    content = {key: value for key, value in manifest_of(base_dir).items() if key not in NOT_IN_FORMAT_1}
    content["format"] = 1
    torch.save(load_tree(current(base_dir), "state")["optimizer"], current(base_dir) / "optimizer.pt")
    for name in ("state.safetensors", "state.json"):
        (current(base_dir) / name).unlink()
        del content["files"][name]
    del content["progress"]["validation_loss"], content["progress"]["validated_step"]
    rewrite(base_dir, content)
    settings = settings_with(tiny_folder, model={"base_model": str(tiny_folder), "chat_template": template})

    if is_refused:
        with pytest.raises(LockedSetting, match='chat_template is "chatml"'):
            loaded(base_dir, settings)
    else:
        engine = loaded(base_dir, settings)
        assert engine.progress.global_step == 3
        engine.run_job(write_jsonl(tmp_path / "b.jsonl", rows(3)))
        assert (manifest_of(base_dir)["format"], manifest_of(base_dir)["progress"]["global_step"]) == (2, 4)


# ---- the chat template


TEMPLATE = """\
{%- for message in messages -%}
{{- message.role + ': ' -}}
{%- generation -%}{{- message.content + eos_token -}}{%- endgeneration -%}
{{- '\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- 'assistant: ' -}}{%- endif -%}"""


def thinking_model(tiny_folder: Path, tmp_path: Path) -> Path:
    """Return a copy of the model that has tokens for thoughts."""
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "thinking"))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["<think>", "</think>"])
    tokenizer.save_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.resize_token_embeddings(len(tokenizer))
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("method", ["full", "lora"])
def test_checkpoints_keep_the_own_template_and_go_on_with_the_training_template(
    base_dir, tmp_path, seven_rows, tiny_folder, method
):
    base = thinking_model(tiny_folder, tmp_path)
    settings = settings_with(
        base, model={"base_model": str(base), "chat_template": "qwen3"}, training={"method": method}
    )

    train(base_dir, settings, [(job_for(seven_rows), seven_rows)])
    engine = loaded(base_dir, settings)

    own = AutoTokenizer.from_pretrained(base).chat_template
    assert AutoTokenizer.from_pretrained(current(base_dir)).chat_template == own
    assert engine.tokenizer.chat_template == BY_NAME["qwen3"].text
    assert manifest_of(base_dir)["chat_template"] == "qwen3"
    assert manifest_of(base_dir)["chat_template_sha256"] == sha256_of(BY_NAME["qwen3"].text)


def test_a_file_whose_template_has_changed_is_noticed(base_dir, tmp_path, seven_rows, tiny_folder):
    file = tmp_path / "mine.jinja"
    file.write_text(TEMPLATE)
    settings = settings_with(tiny_folder, model={"base_model": str(tiny_folder), "chat_template": str(file)})
    train(base_dir, settings, [(job_for(seven_rows), seven_rows)])

    assert AutoTokenizer.from_pretrained(current(base_dir)).chat_template == TEMPLATE
    file.write_text("x" + TEMPLATE)
    with pytest.raises(LockedSetting, match=r"mine\.jinja\", whose text has .*; restore the file, or"):
        loaded(base_dir, settings)
    file.write_text(TEMPLATE)
    assert loaded(base_dir, settings).progress.global_step == 3


# ---- the base model beside an adapter


def test_an_adapter_does_not_go_on_beside_another_base_model(base_dir, tmp_path, seven_rows, tiny_folder):
    base = Path(shutil.copytree(tiny_folder, tmp_path / "mine"))
    settings = settings_with(base, training={"method": "lora"})
    train(base_dir, settings, [(job_for(seven_rows), seven_rows)])
    before = weights_sha256(base_dir)
    config = base / "config.json"
    config.write_text(config.read_text() + " ")

    with pytest.raises(UnusableModel, match=r'base model ".*mine" has the fingerprint .*; expected '):
        loaded(base_dir, settings)

    assert weights_sha256(base_dir) == before


@pytest.mark.parametrize("recorded, is_refused", [("a" * 64, False), ("b" * 64, True), (None, False)])
def test_only_another_fingerprint_is_another_base(recorded, is_refused):
    if is_refused:
        with pytest.raises(UnusableModel, match=f"has the fingerprint {'a' * 16}; expected {'b' * 16}"):
            refuse_other_base(manifest(base_sha256=recorded), "a" * 64)
    else:
        refuse_other_base(manifest(base_sha256=recorded), "a" * 64)


@pytest.mark.parametrize("read_whole", [10, 10**6])
@pytest.mark.parametrize("place", [0, 100, 199])
def test_a_fingerprint_notices_a_changed_byte(tmp_path, monkeypatch, read_whole, place):
    monkeypatch.setattr(fingerprint_module, "READ_WHOLE", read_whole)
    monkeypatch.setattr(fingerprint_module, "SAMPLE_BYTES", 4)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(bytes(200))
    before = fingerprint(tmp_path)

    weights.write_bytes(bytes(place) + b"\x01" + bytes(199 - place))

    assert fingerprint(tmp_path) != before


def test_a_fingerprint_knows_names_and_sizes_but_not_times_and_other_files(tmp_path):
    (tmp_path / "a.json").write_bytes(b"12")
    before = fingerprint(tmp_path)

    (tmp_path / "README.md").write_bytes(b"more")
    (tmp_path / "a.json").touch()
    with_readme = fingerprint(tmp_path)
    (tmp_path / "a.json").rename(tmp_path / "b.json")

    assert with_readme == before
    assert fingerprint(tmp_path) != before


# ---- the device


@pytest.mark.parametrize(
    "trained_on, wanted, has_gpu, is_refused",
    [
        ("cuda", "auto", False, True),
        ("cuda", "auto", True, False),
        ("cuda", "cpu", False, False),
        ("cpu", "auto", False, False),
    ],
)
def test_a_model_from_a_gpu_is_not_silently_continued_without(
    monkeypatch, trained_on, wanted, has_gpu, is_refused
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)

    if is_refused:
        with pytest.raises(MissingDevice, match=r'set training\.device to "cpu"'):
            refuse_missing_gpu(manifest(device=trained_on), wanted)
    else:
        refuse_missing_gpu(manifest(device=trained_on), wanted)


def test_an_engine_refuses_to_load_it(base_dir, seven_rows, tiny_folder, monkeypatch):
    settings = settings_with(tiny_folder)
    train(base_dir, settings, [(job_for(seven_rows), seven_rows)])
    rewrite(base_dir, manifest_of(base_dir) | {"device": "cuda"})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    with pytest.raises(MissingDevice, match="the model was trained on a GPU"):
        loaded(base_dir, settings)
