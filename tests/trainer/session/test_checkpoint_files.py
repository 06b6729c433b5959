"""What a manifest says a checkpoint was made with."""

from trainer.session import checkpoint_files


def test_libraries_are_named_as_they_were_loaded_even_if_others_are_installed_meanwhile(monkeypatch):
    loaded = dict(checkpoint_files.library_versions())
    monkeypatch.setattr(checkpoint_files, "version", lambda name: "9.9")

    assert checkpoint_files.library_versions() == loaded
    assert loaded.keys() == {"torch", "transformers", "peft"}
