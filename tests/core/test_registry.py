"""Looking things up, as timm's functions of the same names do."""

import hub
import pytest


def test_patterns_match_with_and_without_tag():
    assert hub.list_models("resnet18.a*") == []
    assert hub.list_models("resnet18.a*", pretrained=True) == [
        "resnet18.a1_in1k",
        "resnet18.a2_in1k",
        "resnet18.a3_in1k",
    ]
    assert len(hub.list_models("resnet18", include_tags=True)) == 7
    assert hub.list_models("*resnet18*", exclude_filters="*18", pretrained=True) == [
        "resnet18d.ra2_in1k",
        "resnet18d.ra4_e3600_r224_in1k",
    ]


def test_order_is_natural():
    assert hub.list_models(["resnet101", "resnet50", "resnet18"]) == [
        "resnet18",
        "resnet50",
        "resnet101",
    ]


def test_pretrained_lists_what_has_weights():
    assert "resnet200" not in hub.list_models(pretrained=True, include_tags=False)
    assert "resnet200" in hub.list_models()
    assert hub.list_models("resnet200", include_tags=True) == ["resnet200.untrained"]
    assert hub.list_pretrained("resnet10*") == hub.list_models("resnet10*", pretrained=True)


def test_modules():
    assert "resnet" in hub.list_modules()
    assert len(hub.list_models(module="resnet")) == 81
    assert hub.list_models(module=["resnet", "nothing"]) == hub.list_models(module="resnet")
    assert hub.list_models(module="nothing") == []
    assert hub.is_model_in_modules("resnet18.a1_in1k", ["resnet"])
    assert not hub.is_model_in_modules("resnet18", {"vision_transformer"})
    assert hub.model_entrypoint("resnet18", module_filter="resnet").__name__ == "resnet18"
    with pytest.raises(hub.UnknownModelError, match="in the family 'resnet', not 'vgg'"):
        hub.model_entrypoint("resnet18", module_filter="vgg")


def test_questions_about_one_name():
    assert hub.is_model("resnet50.no_such_tag")
    assert not hub.is_model("nothing")
    assert hub.is_model_pretrained("resnet50")
    assert hub.is_model_pretrained("resnet50.a1_in1k")
    assert not hub.is_model_pretrained("resnet50.no_such_tag")
    assert not hub.is_model_pretrained("resnet200")


def test_configurations():
    cfg = hub.get_pretrained_cfg("resnet50.tv2_in1k")
    assert (cfg.architecture, cfg.tag) == ("resnet50", "tv2_in1k")
    assert cfg.hf_hub_id == "timm/resnet50.tv2_in1k"
    assert hub.get_pretrained_cfg_value("resnet50", "crop_pct") == 0.95
    assert hub.get_pretrained_cfg("nothing") is None
    with pytest.raises(hub.UnknownModelError):
        hub.get_pretrained_cfg("nothing", allow_unregistered=False)
    assert list(hub.get_arch_pretrained_cfgs("resnet10t")) == ["resnet10t.c3_in1k"]
    assert hub.get_arch_pretrained_cfgs("nothing") == {}


def test_name_parts():
    assert hub.parse_model_name("hf_hub:org/name@main") == ("hf-hub", "org/name@main")
    assert hub.parse_model_name("local-dir:/a/b") == ("local-dir", "/a/b")
    assert hub.parse_model_name("resnet50.a1_in1k") == (None, "resnet50.a1_in1k")
    assert hub.split_model_name_tag("resnet50.a.b") == ("resnet50", "a.b")
    assert hub.get_arch_name("resnet50.a") == "resnet50"
    assert hub.safe_model_name("hf-hub:timm/resnet50.a") == "timm_resnet50_a"


def test_every_public_name_exists():
    for name in hub.__all__:
        assert getattr(hub, name) is not None
    assert set(hub.__all__) <= set(dir(hub))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        hub.nothing  # noqa: B018
