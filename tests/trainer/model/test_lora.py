"""LoRA: only small matrices are trained and saved, and the result loads like any model."""

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM

from tests.shallow import LAYERS
from tests.support import rows, write_jsonl
from tests.trainer.engine_rig import PEFT_IS_BEHIND, current, loaded, manifest_of, prompt_in, settings_with
from trainer.checkpoints.tensor_tree import load_tree
from trainer.config.loader import BadConfig

pytestmark = pytest.mark.filterwarnings(PEFT_IS_BEHIND)

LORA = {"method": "lora", "lora_rank": 4, "lora_alpha": 8, "learning_rate": 1e-2, "warmup_steps": 0}


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_folder):
    """Return a working directory with an adapter, and the live engine that made it."""
    base_dir = tmp_path_factory.mktemp("lora")
    engine = loaded(base_dir, settings_with(tiny_folder, training=LORA))
    engine.run_job(write_jsonl(base_dir / "a.jsonl", rows(7)))
    return base_dir, engine


def test_the_current_model_loads_by_its_path_and_predicts_what_the_live_one_does(trained, tiny_folder):
    base_dir, engine = trained
    prompt = prompt_in(current(base_dir))

    model = AutoModelForCausalLM.from_pretrained(current(base_dir))

    live, base = engine.trainer.model.eval(), AutoModelForCausalLM.from_pretrained(tiny_folder)
    with torch.no_grad():
        torch.testing.assert_close(model(prompt).logits, live(prompt).logits)
        assert not torch.equal(model(prompt).logits, base(prompt).logits)


def test_a_checkpoint_holds_the_matrices_alone_and_is_small(trained, tiny_folder):
    base_dir, _ = trained
    folder = current(base_dir)

    with safe_open(folder / "adapter_model.safetensors", "pt") as file:
        names = list(file.keys())
        rank = {min(file.get_tensor(name).shape) for name in names}

    assert all(".lora_A." in name or ".lora_B." in name for name in names)
    assert (len(names), rank) == (LAYERS * 7 * 2, {4})  # in each block 7 linear layers with two matrices each
    assert not (folder / "model.safetensors").exists()
    assert not (folder / "README.md").exists()
    assert (folder / "tokenizer.json").exists()
    optimizer = load_tree(folder, "state")["optimizer"]
    assert len(optimizer["state"]) == len(names)


def test_the_base_model_stays_as_it_was(trained, tiny_folder):
    _, engine = trained
    base = AutoModelForCausalLM.from_pretrained(tiny_folder).state_dict()

    live = engine.trainer.model.base_model.model.state_dict()

    for name, weight in live.items():
        if "lora_" not in name:
            assert torch.equal(weight, base[name.replace(".base_layer", "")]), name


def test_the_manifest_names_what_it_depends_on(trained):
    base_dir, _ = trained
    content = manifest_of(base_dir)

    assert content["method"] == "lora"
    assert content["locked"]["training.lora_rank"] == 4
    assert len(content["base_sha256"]) == 64
    assert "peft" in content["versions"]


@pytest.mark.parametrize("before, now", [(0.0, 0.25), (0.25, 0.5)])
def test_a_restart_has_the_dropout_of_the_settings_and_goes_on_training(
    base_dir, seven_rows, tiny_folder, before, now
):
    engine = loaded(base_dir, settings_with(tiny_folder, training=LORA | {"lora_dropout": before}))
    engine.run_job(seven_rows)

    engine = loaded(base_dir, settings_with(tiny_folder, training=LORA | {"lora_dropout": now}))

    modules = engine.trainer.model.named_modules()
    layers = [module for name, module in modules if name.endswith("lora_dropout.default")]
    assert [layer.p for layer in layers] == [now] * (LAYERS * 7)
    trainable = [name for name, weight in engine.trainer.model.named_parameters() if weight.requires_grad]
    assert len(trainable) == LAYERS * 7 * 2
    assert all("lora_" in name for name in trainable)


def test_fresh_matrices_are_the_same_each_time_and_change_nothing(tmp_path, tiny_folder):
    settings = settings_with(tiny_folder, training=LORA | {"lora_targets": ["q_proj", "v_proj"]})
    first, second = (loaded(tmp_path / name, settings).trainer.model.eval() for name in "ab")
    base = AutoModelForCausalLM.from_pretrained(tiny_folder)
    prompt = prompt_in(tiny_folder)

    with torch.no_grad():
        torch.testing.assert_close(first(prompt).logits, base(prompt).logits)

    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    trainable = [name for name, weight in first.named_parameters() if weight.requires_grad]
    assert len(trainable) == LAYERS * 2 * 2
    assert all("q_proj" in name or "v_proj" in name for name in trainable)


@pytest.mark.parametrize(
    "targets", [["no_such_layer"], ["q_proj", "no_such_layer"], ["proj"], ["self_attn"], ["norm"]]
)
def test_layers_the_model_does_not_have_are_the_settings_fault(base_dir, tiny_folder, targets):
    settings = settings_with(tiny_folder, training=LORA | {"lora_targets": targets})

    with pytest.raises(
        BadConfig, match=rf"lora_targets is .*{targets[-1]}.* has no layer {targets[-1]}; .* q_proj, up_proj"
    ):
        loaded(base_dir, settings)


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`")
def test_the_embeddings_can_have_matrices_too(base_dir, tiny_folder, seven_rows):
    settings = settings_with(tiny_folder, training=LORA | {"lora_targets": ["embed_tokens", "q_proj"]})

    result = loaded(base_dir, settings).run_job(seven_rows)

    assert result.record.rows_trained == 7


def test_no_targets_at_all_are_the_settings_fault(base_dir, tiny_folder):
    settings = settings_with(tiny_folder, training=LORA | {"lora_targets": []})

    with pytest.raises(
        BadConfig, match=r"lora_targets is \[\]; expected names such as .*, or \"all-linear\""
    ):
        loaded(base_dir, settings)


def test_what_dora_learns_is_kept_and_rslora_scales_by_the_root_of_the_rank(
    base_dir, seven_rows, tiny_folder
):
    settings = settings_with(tiny_folder, training=LORA | {"lora_dora": True, "lora_rslora": True})
    loaded(base_dir, settings).run_job(seven_rows)

    with safe_open(current(base_dir) / "adapter_model.safetensors", "pt") as file:
        magnitudes = [name for name in file.keys() if "magnitude" in name]  # noqa: SIM118 - not a dictionary
    trainer = loaded(base_dir, settings).trainer
    layer = trainer.model.base_model.model.model.layers[0].self_attn.q_proj

    assert [weight.dim() for weight in trainer.optimizer.param_groups[-1]["params"]] == [1] * len(magnitudes)
    assert len(magnitudes) == LAYERS * 7
    assert layer.scaling["default"] == 8 / 4**0.5
    assert layer.use_dora["default"]
