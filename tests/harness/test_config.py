"""Settings are composed, and a slip of the pen is answered with what was meant."""

import textwrap

import pytest

from dissectbench.harness.config import build, compose, groups
from dissectbench.harness.errors import InputError
from dissectbench.harness.parts import layer_specs


def refused(*overrides, **options) -> str:
    with pytest.raises(InputError) as caught:
        compose(overrides, **options)
    return str(caught.value)


def test_settings_of_the_pass_have_a_node_of_their_own():
    settings = compose(["activations.on_error=skip", "activations.batch_size=7", "probe.images=20"])
    assert settings.config.activations.batch_size == 7
    assert settings.config.probe.images == 20
    assert "on_error: skip" in settings.text


def test_an_unknown_setting_names_the_nearest():
    assert "did you mean units?" in refused("unit=50")
    assert "did you mean similarity?" in refused("method.clip_dissect.similarty=wpmi")


def test_an_unknown_setting_lists_all_settings_of_the_chosen_component():
    message = refused("target=torchvision", "target.name=resnet18", "target.foo=1")
    for setting in ("name", "weights", "checkpoint", "rename", "num_classes", "classes", "seed", "label"):
        assert setting in message.partition("Settings of target: ")[2]
    assert "_convert_" not in message


def test_a_function_is_a_target():
    config = compose(["target=my_models:build", "+target.width=3"], only="target").config
    assert config.target.factory == "my_models:build"
    assert config.target.width == 3
    path = compose(["target=models/my_net.py:build"], only="target").config.target.factory
    assert path == "models/my_net.py:build"


@pytest.mark.parametrize(
    ("layers", "names"), [("[0,4]", ["0", "4"]), ("0", ["0"]), ("[a,{name:2}]", ["a", "2"])]
)
def test_layers_may_have_numbers_for_names(layers, names):
    assert [spec.name for spec in layer_specs(compose([f"layers={layers}"]).config.layers)] == names


def test_an_unknown_choice_names_those_there_are():
    message = refused("target=resnet51")
    assert "there is no such target" in message
    assert "resnet50" in message


def test_a_missing_value_says_which():
    assert "probe.root is not set" in refused("probe=imagefolder")


def test_what_is_no_setting_is_said_in_a_sentence():
    assert "cannot read the setting" in refused("name")


def test_one_method_can_be_chosen_and_set():
    config = compose(["method=[clip_dissect]", "method.clip_dissect.keep_candidates=3"]).config
    assert list(config.method) == ["clip_dissect"]
    assert build(config.method.clip_dissect, "method").keep_candidates == 3


def test_an_experiment_brings_its_choices_and_the_command_line_has_the_last_word(tmp_path):
    roots = [f"probe.sets.imagenet.root={tmp_path}", f"probe.sets.broden.root={tmp_path}"]
    config = compose(["experiment=resnet50_imagenet", *roots]).config
    assert "resnet50" in str(config.target)
    assert set(config.metric) >= {"clip_cosine", "mpnet_cosine", "bertscore_f1"}
    assert list(compose(["experiment=resnet50_imagenet", *roots, "layers=[layer4]"]).config.layers) == [
        "layer4"
    ]


def test_a_users_own_method_needs_a_class_and_a_file_of_their_own(tmp_path):
    (tmp_path / "method").mkdir()
    (tmp_path / "method" / "mine.yaml").write_text(
        "# Says one word.\nmine:\n  _target_: own_method_for_test.OneWord\n  word: boat\n"
    )
    (tmp_path / "own_method_for_test.py").write_text(
        textwrap.dedent("""
            from dissectbench.harness.records import Description
            from dissectbench.methods.method import Method

            class OneWord(Method):
                name = "one_word"

                def __init__(self, word):
                    self.word = word

                def describe(self, layer, units):
                    for unit in units:
                        yield Description(layer.unit(unit), self.name, self.word)
        """)
    )
    settings = compose(["method=[mine]"], config_dir=str(tmp_path))
    method = build(settings.config.method.mine, "method.mine")
    assert (method.name, method.word) == ("one_word", "boat")
    assert groups(str(tmp_path))["method"]["mine"] == "Says one word."


def test_a_class_that_is_not_there_is_said_in_a_sentence(tmp_path):
    (tmp_path / "method").mkdir()
    (tmp_path / "method" / "lost.yaml").write_text("lost:\n  _target_: no_such_module.Lost\n")
    node = compose(["method=[lost]"], config_dir=str(tmp_path)).config.method.lost
    with pytest.raises(InputError, match=r"method\.lost cannot be built"):
        build(node, "method.lost")


def test_a_folder_of_configurations_that_is_not_there():
    assert "no such folder" in refused(config_dir="/does/not/exist")


def test_every_shipped_choice_says_what_it_is():
    silent = [
        f"{group}/{name}"
        for group, choices in groups().items()
        for name, comment in choices.items()
        if not comment
    ]
    assert not silent
